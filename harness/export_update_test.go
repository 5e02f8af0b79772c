package harness

// Updating returns cfg for a lane that runs as with -update-screens=how.
func Updating(cfg Config, how string) Config {
	if err := cfg.updating.Set(how); err != nil {
		panic(err)
	}
	return cfg
}

// ScreensUpdating returns what the flag and the environment say.
func ScreensUpdating() (string, error) {
	u, err := screensUpdating()
	return string(u), err
}
