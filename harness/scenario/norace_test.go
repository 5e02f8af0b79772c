//go:build !race

package scenario_test

const racing = false
