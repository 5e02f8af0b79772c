// Package archive keeps the results of runs for months: run.json, the evidence and the measurements
// of each run, stored once by content, in a directory or in an object store.
//
//	a, err := archive.Open(ctx, archive.Dir{Path: "/srv/runs"}, archive.Options{})
//	added, err := a.Add(ctx, source)                        // one run, all or nothing
//	records, err := a.List(ctx)                             // newest first
//	run, err := a.Run(ctx, records[0].ID)                   // its run.json
//	all, err := a.Results(ctx)                              // for all cells of a run
//	found, err := all.Trusted(ctx, cell, does, identity)    // a result of the same build, or nil
//
// The package starts no lanes: it reads what runs have written. Comparison and trend are in package
// compare. The S3 store is in package s3store, so that programs without it do not link its client.
//
// # Layout
//
//	archive.zst              the format's version
//	runs/ID.zst              one record per run: a summary, and the names of two blobs
//	blobs/AB/ABCD….zst       a content, named by its sha256: run.json, lists of files, evidence
//	index.zst                copies of records, for a faster list; it may be missing
//	pins/ID.zst              a run that retention must keep
//	locks/…                  who is writing
//
// Every object except a lock is a zstd frame followed by a seal: the sha256 of the object's bytes
// in a skippable frame. zstdcat can read the object, and [Archive.Verify] finds any bit that has
// changed.
//
// # Order of writes
//
// A writer stores a run's blobs first and its record last, with a call that either creates the
// whole object or nothing. So a run is in the archive completely or not at all, even if its writer
// dies. [Archive.Prune] removes blobs without a record.
package archive
