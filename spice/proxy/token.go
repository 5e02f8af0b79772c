package proxy

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

// tokenMemory is how long an expired token is remembered, so that the audit log can say "expired"
// or "replayed" instead of "unknown".
const tokenMemory = 10 * time.Minute

// tokenHash identifies a token. Its lookup takes the same time however much of a guess is right;
// comparing the token itself would not.
type tokenHash [sha256.Size]byte

func hashToken(token string) tokenHash { return sha256.Sum256([]byte(token)) }

// tokens are the issued tokens that are not forgotten yet.
type tokens struct {
	mu       sync.Mutex
	lifetime time.Duration
	entries  map[tokenHash]*tokenEntry
	swept    time.Time
}

// grant says what a token is for, and for whom it was issued.
type grant struct{ source, uuid, viewer string }

type tokenEntry struct {
	grant
	expires time.Time
	spent   bool
}

func newTokens(lifetime time.Duration) *tokens {
	return &tokens{lifetime: lifetime, entries: map[tokenHash]*tokenEntry{}}
}

// issue returns a new token for a console: 256 random bits in 43 characters, which fits into a
// SPICE password.
func (t *tokens) issue(g grant, now time.Time) string {
	var raw [32]byte
	rand.Read(raw[:])
	token := base64.RawURLEncoding.EncodeToString(raw[:])
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	t.entries[hashToken(token)] = &tokenEntry{grant: g, expires: now.Add(t.lifetime)}
	return token
}

// spend uses a token up and returns its grant, or why it is refused.
func (t *tokens) spend(hash tokenHash, now time.Time) (_ grant, refused Reason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[hash]
	if e == nil {
		return grant{}, ReasonTokenUnknown
	}
	if refused := e.refused(now); refused != "" {
		return e.grant, refused
	}
	e.spent = true
	return e.grant, ""
}

// lookup returns the grant of a token that belongs to no session, or why it is refused.
func (t *tokens) lookup(hash tokenHash, now time.Time) (_ grant, refused Reason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[hash]
	if e == nil {
		return grant{}, ReasonTokenUnknown
	}
	return e.grant, e.refused(now)
}

func (e *tokenEntry) refused(now time.Time) Reason {
	switch {
	case e.spent:
		return ReasonTokenReplayed
	case !now.Before(e.expires):
		return ReasonTokenExpired
	}
	return ""
}

// sweep forgets old tokens, at most once a minute.
func (t *tokens) sweep(now time.Time) {
	if now.Sub(t.swept) < time.Minute {
		return
	}
	t.swept = now
	for hash, e := range t.entries {
		if now.Sub(e.expires) > tokenMemory {
			delete(t.entries, hash)
		}
	}
}
