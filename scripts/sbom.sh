#!/bin/sh
# Writes SBOMs of a Go program, an SPDX 2.3 and a CycloneDX 1.5 document, from the modules that the
# program itself lists.
#
#   scripts/sbom.sh PROGRAM VERSION OUT      makes OUT.spdx.json and OUT.cdx.json
set -eu
program=$1 version=$2 out=$3
modules=$(mktemp)
trap 'rm -f "$modules"' EXIT
# One line per module: its path and its version. For a replaced module, these are the original ones.
go version -m "$program" | awk '$1 == "dep" { path = $2; v = $3; print path, v } ' >"$modules"
[ -s "$modules" ] || { echo "sbom: $program names no modules: is it a Go program?" >&2; exit 1; }
created=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%dT%H:%M:%SZ)
sum=$(sha256sum "$program" | cut -d' ' -f1)

awk -v version="$version" -v created="$created" -v sum="$sum" '
BEGIN {
    printf "{\"spdxVersion\":\"SPDX-2.3\",\"dataLicense\":\"CC0-1.0\",\"SPDXID\":\"SPDXRef-DOCUMENT\",\"name\":\"spicelane-%s\",", version
    printf "\"documentNamespace\":\"https://github.com/spicelane/spicelane/releases/%s/%s\",", version, sum
    printf "\"creationInfo\":{\"created\":\"%s\",\"creators\":[\"Tool: spicelane-sbom\"]},\"packages\":[", created
    printf "{\"SPDXID\":\"SPDXRef-spicelane\",\"name\":\"spicelane\",\"versionInfo\":\"%s\",\"downloadLocation\":\"https://github.com/spicelane/spicelane\",\"filesAnalyzed\":false,\"licenseDeclared\":\"Apache-2.0\",\"checksums\":[{\"algorithm\":\"SHA256\",\"checksumValue\":\"%s\"}]}", version, sum
}
{
    printf ",{\"SPDXID\":\"SPDXRef-%d\",\"name\":\"%s\",\"versionInfo\":\"%s\",\"downloadLocation\":\"NOASSERTION\",\"filesAnalyzed\":false,", NR, $1, $2
    printf "\"externalRefs\":[{\"referenceCategory\":\"PACKAGE-MANAGER\",\"referenceType\":\"purl\",\"referenceLocator\":\"pkg:golang/%s@%s\"}]}", $1, $2
}
END {
    printf "],\"relationships\":[{\"spdxElementId\":\"SPDXRef-DOCUMENT\",\"relationshipType\":\"DESCRIBES\",\"relatedSpdxElement\":\"SPDXRef-spicelane\"}"
    for (i = 1; i <= NR; i++) printf ",{\"spdxElementId\":\"SPDXRef-spicelane\",\"relationshipType\":\"DEPENDS_ON\",\"relatedSpdxElement\":\"SPDXRef-%d\"}", i
    print "]}"
}' "$modules" >"$out.spdx.json"

awk -v version="$version" -v created="$created" -v sum="$sum" '
BEGIN {
    printf "{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"version\":1,\"metadata\":{\"timestamp\":\"%s\",\"component\":", created
    printf "{\"type\":\"application\",\"bom-ref\":\"spicelane\",\"name\":\"spicelane\",\"version\":\"%s\",\"hashes\":[{\"alg\":\"SHA-256\",\"content\":\"%s\"}],\"licenses\":[{\"license\":{\"id\":\"Apache-2.0\"}}]}},\"components\":[", version, sum
}
{ printf "%s{\"type\":\"library\",\"bom-ref\":\"pkg:golang/%s@%s\",\"name\":\"%s\",\"version\":\"%s\",\"purl\":\"pkg:golang/%s@%s\"}", (NR > 1 ? "," : ""), $1, $2, $1, $2, $1, $2 }
END { print "]}" }' "$modules" >"$out.cdx.json"
