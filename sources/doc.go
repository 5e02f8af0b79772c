// Package sources lists the remote consoles that a proxy can connect to. They come from a
// sources.yaml, whose field names are kerbside's.
//
//	catalog, err := sources.Open("sources.yaml", sources.Config{Logger: logger})
//	if err != nil { … }              // names file, line and field
//	defer catalog.Close()
//	console, err := catalog.Console(ctx, "ci-direct-qemu", uuid)
//
// The file is watched. A good edit takes effect at once; a bad one is reported and changes nothing.
// [NewCatalog] makes a catalog of sources in memory.
//
// The package itself makes no connections. To see why a console is missing, look for "sources" in
// the log, or call [Catalog.Err].
package sources
