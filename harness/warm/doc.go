// Package warm keeps saved states of machines, so that the next machine of the
// same making goes on where the first one was instead of booting.
//
//	cache := &warm.Cache{Dir: dir, MaxBytes: warm.DefaultMaxBytes}
//	id, err := cache.Identify(ctx, machine) // a *ColdError: it can only boot
//	entry, err := cache.Open(id)       // a *ColdError: nothing is saved
//	if err == nil {
//		defer entry.Close()
//		entry.Apply(&machine)          // LoadState, Disk, Firmware.Vars
//		…                              // start it, while entry.Verify runs
//	}
//
// A machine that has booted is saved by whoever holds the claim:
//
//	claim, err := cache.Claim(id)      // ErrBusy: somebody else is at it
//	defer claim.Close()
//	draft, err := claim.Draft()
//	…                                  // pause, write the parts, resume
//	err = draft.Publish(ctx, warm.Saved{…})
//
// Under Dir there is one directory an entry, called by its key: the SHA-256 of
// everything that the state depends on (an [Identity]). Entries are complete
// or not there at all: a draft is made under another name and renamed. Their
// files are never written to again; several machines may be restored from one
// at the same time. Every use compares sizes and checksums of all parts, and
// what does not match is thrown away. The entries that were used last stay,
// as many as fit.
//
// Any number of processes may work on one directory. They exclude each other
// with locks that the kernel gives back when a process dies, and each removes
// what killed ones have left. A directory that cannot be written serves what
// is in it.
//
// The package starts no machine and knows nothing of SPICE. It does not defend
// against an owner who wants to deceive himself: whoever can write to the
// directory runs code here anyway. It only refuses a directory of somebody else,
// or one open to others.
//
// To debug, read an entry's manifest.json: its identity is what the key is made
// of. Two entries that should have been one differ there.
package warm
