package warm

// ManifestProblem returns parseManifest's error for b.
func ManifestProblem(b []byte) error {
	_, err := parseManifest(b)
	return err
}
