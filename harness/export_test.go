package harness

// ConsoleFailure names the failure pattern that a line matches, "soft: " before
// those that do not end a lane; empty if none does.
func ConsoleFailure(line string) string {
	for _, p := range failurePatterns {
		if p.Pattern.MatchString(line) {
			if p.Soft {
				return "soft: " + p.Name
			}
			return p.Name
		}
	}
	return ""
}
