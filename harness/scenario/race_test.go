//go:build race

package scenario_test

// racing: the race detector makes pictures take ten times as long.
const racing = true
