package deploy

// Error is a failure that a person can do something about.
type Error struct {
	// Summary names the situation: a noun phrase in sentence case without a
	// full stop, the same at each occurrence ("Wrap key file missing").
	Summary string
	// Err says what was attempted and what was found, in the style of Go
	// errors ("read wrap key model.key: the file does not exist").
	Err error
	// Remedy says what to do, in whole sentences.
	Remedy string
	// Evidence is what another program said about it, such as the end of its
	// log; it may span lines and may be empty.
	Evidence string
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }
