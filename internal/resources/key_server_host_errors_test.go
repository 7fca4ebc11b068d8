package resources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

func TestUnreachable(t *testing.T) {
	t.Parallel()
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, tt := range []struct {
		name            string
		err             error
		summary, remedy string
	}{
		{"refused", dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "Machine not reachable", "The address answers and nobody listens at the port"},
		{"silent", dial(os.ErrDeadlineExceeded), "Machine not reachable", "No answer comes from there"},
		{"silent in the handshake", errors.Join(context.DeadlineExceeded, net.ErrClosed), "Machine not reachable", "No answer comes from there"},
		{"ended", fmt.Errorf("ssh: handshake failed: %w", io.EOF), "Machine not reachable", "It takes the connection and ends it at once"},
		{"reset", dial(os.NewSyscallError("read", syscall.ECONNRESET)), "Machine not reachable", "It takes the connection and ends it at once"},
		{"name", dial(&net.DNSError{Err: "no such host", Name: "h", IsTimeout: true}), "Machine not reachable", "Its name does not lead to an address"},
		{"host key", fmt.Errorf("check host key: %w", remote.ErrHostKey), "Machine with another host key", "Nothing was sent to it."},
		{"login", fmt.Errorf("%w: no methods", remote.ErrAuthentication), "SSH login refused", "Check user and key"},
		{"anything else", errors.New("no route"), "Machine not reachable", "If the machine does not exist any more"},
	} {
		err := unreachable(fmt.Errorf("connect to root@h:22: %w", tt.err))
		var known *deploy.Error
		if !errors.As(err, &known) || known.Summary != tt.summary || !strings.HasPrefix(known.Remedy, tt.remedy) || !errors.Is(err, tt.err) {
			t.Errorf("%s: %+v", tt.name, known)
		}
		if gone := strings.Contains(known.Remedy, "terraform state rm"); gone == errors.Is(tt.err, remote.ErrHostKey) {
			t.Errorf("%s: %s", tt.name, known.Remedy)
		}
	}
}
