#!/bin/sh
# Searches files for secrets before they leave the machine: private keys, and tokens, tickets and
# passwords in the formats that programs use for them. First it plants one secret of each kind. If
# it does not find all of them, the search is broken.
#
#   scripts/secrets.sh DIR...
#
# Prints the file and the kind of each secret, never the secret. Exit status: 0 none found, 1 some
# found, 2 the search failed.
set -eu
[ $# -gt 0 ] || { echo "usage: scripts/secrets.sh DIR..." >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Kind, a tab, and an extended regular expression.
cat >"$work/patterns" <<'PATTERNS'
private key	-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----
virt-viewer password	^password=[^[:space:]]
ticket	["']?ticket["']?[[:space:]]*[:=][[:space:]]*["']?[A-Za-z0-9_-]{8,}
bearer token	[Bb]earer [A-Za-z0-9._~+/-]{16,}
GitHub token	(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,})
access key	(AKIA|ASIA)[A-Z0-9]{16}
PATTERNS

search() { # search DIR OUT: writes a line "FILE: KIND" for each file with a secret
    : >"$2"
    tab=$(printf '\t')
    while IFS=$tab read -r kind pattern; do
        # -a searches binary files as well, such as pictures and archives. grep's status 1 means
        # that it found nothing, 2 an error.
        found=0
        files=$(grep -rlaE -e "$pattern" "$1" 2>"$work/errors") || found=$?
        if [ "$found" -gt 1 ]; then
            cat "$work/errors" >&2
            echo "secrets: $1 could not be searched for a $kind" >&2
            exit 2
        fi
        [ -z "$files" ] || printf '%s\n' "$files" | sed "s/\$/: $kind/" >>"$2"
    done <"$work/patterns"
}

# The positive control. The secrets are written in parts, so that this file does not match the
# patterns.
mkdir "$work/planted"
dashes=-----
tail=0123456789abcdefghijklmnopqrstuvwxyz
printf '%s\n' "${dashes}BEGIN RSA PRIVATE KEY${dashes}" >"$work/planted/1"
printf '%s\n' "password""=x$tail" >"$work/planted/2"
printf '%s\n' "  ticket"": \"$tail\"" >"$work/planted/3"
printf '%s\n' "Authorization: Bearer"" $tail" >"$work/planted/4"
printf 'binary\000%s\n' "ghp_""$tail" >"$work/planted/5"
printf '%s\n' "AKIA""ABCDEFGHIJKLMNOP" >"$work/planted/6"
search "$work/planted" "$work/control"
n=$(sort -u "$work/control" | wc -l)
if [ "$n" -ne 6 ]; then
    echo "secrets: of 6 planted secrets $n were found: this search is broken" >&2
    exit 2
fi

status=0
for dir; do
    if [ ! -e "$dir" ]; then
        echo "secrets: $dir is not there: nothing to search" >&2
        continue
    fi
    search "$dir" "$work/found"
    if [ -s "$work/found" ]; then
        sort "$work/found" | sed 's/^/secrets: /' >&2
        status=1
    fi
done
[ $status -eq 0 ] || echo "secrets: remove them before these files leave the machine" >&2
exit $status
