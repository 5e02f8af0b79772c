package truth

import (
	"slices"
	"testing"
)

func TestShrinkFindsTheFewestThatFail(t *testing.T) {
	all := make([]int, 100)
	for i := range all {
		all[i] = i
	}
	for _, need := range [][]int{{0}, {99}, {17}, {3, 71}, {0, 50, 99}, {10, 11, 12, 13}} {
		asked := 0
		got := shrink(all, func(some []int) bool {
			asked++
			for _, n := range need {
				if !slices.Contains(some, n) {
					return false
				}
			}
			return true
		})
		if !slices.Equal(got, need) {
			t.Errorf("got %v, want %v", got, need)
		}
		if asked > 400 {
			t.Errorf("%v: asked %d times", need, asked)
		}
	}
	if got := shrink([]int{5}, func([]int) bool { return true }); !slices.Equal(got, []int{5}) {
		t.Errorf("one item: %v", got)
	}
}
