package ecs

import (
	"context"
	"time"
)

// Wait polls until check is done, at the client's pace from its shortest wait
// to five times that. What names the state that is waited for ("instance i-1 to
// run"); check says which state it saw. An error of check ends the wait.
//
// The wait lasts as long as ctx; a [*WaitError] says what was seen last.
func (c *Client) Wait(ctx context.Context, what string, check func(context.Context) (done bool, seen string, err error)) error {
	started := time.Now()
	last := ""
	pace := c.backoff.Min
	for {
		done, seen, err := check(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return &WaitError{What: what, Seen: last, After: time.Since(started), Err: ctx.Err()}
			}
			return err
		}
		if done {
			return nil
		}
		last = seen
		if err := sleep(ctx, pace); err != nil {
			return &WaitError{What: what, Seen: last, After: time.Since(started), Err: err}
		}
		pace = min(pace*3/2, 5*c.backoff.Min)
	}
}

// confirmGone asks once more after a pause before it believes that a resource
// is gone: lists lag behind.
func (c *Client) confirmGone(ctx context.Context, look func(context.Context) (found bool, err error)) (bool, error) {
	for range 2 {
		found, err := look(ctx)
		if err != nil || found {
			return false, err
		}
		if err := sleep(ctx, c.backoff.Min); err != nil {
			return false, err
		}
	}
	found, err := look(ctx)
	return !found && err == nil, err
}
