//go:build !race

package lanetest

const Racing = false
