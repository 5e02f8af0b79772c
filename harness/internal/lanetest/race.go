//go:build race

package lanetest

// Racing: the race detector makes pictures take ten times as long.
const Racing = true
