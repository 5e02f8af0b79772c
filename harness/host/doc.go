// Package host is the computer that lanes run on: what it has ([Doctor], [ChooseAccel]),
// how lanes share it ([TakeBootSlot], [RunDir]), where they keep what they can use again
// ([CacheDir]), and what it did while something was awaited ([Watchdog]).
package host
