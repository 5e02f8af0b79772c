// Package warm keeps saved states of machines, so that the next machine with the same configuration
// continues from there instead of booting.
//
//	cache := &warm.Cache{Dir: dir, MaxBytes: warm.DefaultMaxBytes}
//	id, err := cache.Identify(ctx, machine) // a *ColdError: it can only boot
//	entry, err := cache.Open(id)       // a *ColdError: nothing is saved
//	if err == nil {
//		defer entry.Close()
//		err = entry.Apply(&machine, disk, vars) // sets LoadState, Disk, Firmware.Vars
//		…                                       // start it, while entry.Verify runs
//	}
//
// The holder of the claim saves a machine that has booted:
//
//	claim, err := cache.Claim(id)      // ErrBusy: another process is saving it
//	defer claim.Close()
//	draft, err := claim.Draft()
//	…                                  // pause, write the parts, resume
//	err = draft.Publish(ctx, warm.Saved{…})
//
// Under Dir each entry has one directory, named by its key: the SHA-256 of everything that the
// state depends on (an [Identity]). Entries are complete or absent: a draft is made under another
// name and then renamed. Their files are never written again, and several machines may be restored
// from one entry at the same time. Every use verifies sizes and checksums of all parts, and deletes
// an entry that does not match. If the cache is full, the least recently used entries are evicted.
//
// Any number of processes may use one directory. They exclude each other with locks that the kernel
// releases when a process dies, and each removes the leftovers of killed ones. A directory that is
// not writable still serves its entries.
//
// The package starts no machine and knows nothing about SPICE. It does not defend against the
// directory's owner, who can run code here anyway. It only refuses a directory that belongs to
// another user, or that others can write to.
//
// To debug, read an entry's manifest.json: its identity is the source of the key. Compare those of
// two entries that should have been one.
package warm
