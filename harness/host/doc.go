// Package host is about the computer that lanes run on: what it has ([Doctor], [ChooseAccel]), how
// lanes share it ([TakeBootSlot], [RunDir]), where they keep reusable data ([CacheDir]), and what
// it did during a wait ([Watchdog]).
package host
