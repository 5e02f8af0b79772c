package warm

// ManifestProblem returns what parseManifest has against b.
func ManifestProblem(b []byte) error {
	_, err := parseManifest(b)
	return err
}
