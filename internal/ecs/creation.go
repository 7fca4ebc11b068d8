package ecs

import "strings"

// A creation token tells which process made something. Its first half is the
// client's own: what bears it was made by this very client, which is alive to
// know of it. Anything else was made by another process, which may be dead.
const creationTokenHalf = 16

// NewCreationToken is [NewToken] for what is marked with its token: two tokens
// of one client start alike.
func (c *Client) NewCreationToken() string {
	return c.creations + NewToken()[:creationTokenHalf]
}

// OwnCreationToken tells whether a token is one of [Client.NewCreationToken]'s.
func (c *Client) OwnCreationToken(token string) bool {
	return len(token) == 2*creationTokenHalf && strings.HasPrefix(token, c.creations)
}
