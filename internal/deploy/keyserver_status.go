package deploy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/image"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// States of a key server that was asked.
const (
	// KeyServerReady serves enclaves, and nothing is wrong with it.
	KeyServerReady = "ready"
	// KeyServerUnhealthy runs and serves no enclave, or has a problem that keeps every client away.
	KeyServerUnhealthy = "unhealthy"
	// KeyServerUnasked runs and has no admin listener that could be asked more.
	KeyServerUnasked = "running"
	// KeyServerAbsent does not run: its machine has answered.
	KeyServerAbsent = "stopped"
	// KeyServerUnreachable is one of which nothing is known: there was no answer.
	KeyServerUnreachable = "unreachable"
)

// KeyServerAnswer is what came of asking a key server how it does.
type KeyServerAnswer struct {
	// State is one of the above.
	State string
	// Reason says why it is not [KeyServerReady].
	Reason string
	// Status is its own account; nil where there is none.
	Status *keyserver.Status
}

func unreachableServer(err error) KeyServerAnswer {
	return KeyServerAnswer{State: KeyServerUnreachable, Reason: oneLine(err)}
}

// judge words what a server says of itself.
func judge(status *keyserver.Status) KeyServerAnswer {
	a := KeyServerAnswer{State: KeyServerReady, Status: status}
	if !status.Ready || len(status.Problems) > 0 {
		a.State, a.Reason = KeyServerUnhealthy, strings.Join(status.Problems, "; ")
	}
	return a
}

// AskContainer asks the key server in a container of a machine. That it is
// not there, or has nothing good to say, is an answer and no error.
func AskContainer(ctx context.Context, x remote.Executor, name string) KeyServerAnswer {
	out, said := &boundedBuffer{limit: maxStatus}, &boundedBuffer{limit: maxStatus}
	err := x.Run(ctx, remote.Command{
		Args:   []string{"docker", "exec", name, image.Program, "keyserver", "status", "--state-file", image.StateFile, "--decisions", "0", "--json"},
		Stdout: out, Stderr: said,
	})
	code, known := remote.ExitCode(err)
	var report struct {
		Ready  string
		Status *keyserver.Status
	}
	complaint := strings.ToLower(said.String())
	switch {
	case !known:
		return unreachableServer(err)
	case out.Len() > 0 && json.Unmarshal(out.Bytes(), &report) == nil && report.Status != nil:
		return judge(report.Status)
	case report.Ready != "":
		return KeyServerAnswer{State: KeyServerUnhealthy, Reason: report.Ready}
	case strings.Contains(complaint, "no such container"):
		return KeyServerAnswer{State: KeyServerAbsent, Reason: fmt.Sprintf("there is no container %s on %s", name, x)}
	case strings.Contains(complaint, "is not running"):
		return KeyServerAnswer{State: KeyServerAbsent, Reason: fmt.Sprintf("the container %s on %s does not run", name, x)}
	case code == 127 && !strings.Contains(complaint, "oci runtime"):
		return KeyServerAnswer{State: KeyServerUnreachable, Reason: fmt.Sprintf("there is no Docker on %s", x)}
	case strings.Contains(complaint, "daemon"):
		return unreachableServer(err)
	case err == nil:
		return KeyServerAnswer{State: KeyServerUnhealthy, Reason: "its answer makes no sense"}
	default:
		return KeyServerAnswer{State: KeyServerUnhealthy, Reason: oneLine(err)}
	}
}

// AskProcess asks the key server that runs in a directory of this machine.
func AskProcess(ctx context.Context, directory string) (KeyServerAnswer, error) {
	state, err := serverState(KeyServerFilesIn(directory).State)
	switch {
	case err != nil:
		return KeyServerAnswer{}, fmt.Errorf("look for key server in %s: %w", directory, err)
	case state == nil:
		return KeyServerAnswer{State: KeyServerAbsent, Reason: "none runs in " + directory}, nil
	case state.PID == 0:
		return KeyServerAnswer{State: KeyServerUnhealthy, Reason: "it does not listen yet"}, nil
	case state.Admin == "":
		return KeyServerAnswer{State: KeyServerUnasked, Reason: "it runs as process " + fmt.Sprint(state.PID) + " and has no admin listener to ask"}, nil
	case state.AdminTLS:
		return KeyServerAnswer{State: KeyServerUnasked, Reason: "its admin listener at " + state.Admin + " speaks mutual TLS: ask that with a certificate"}, nil
	}
	return AskAdmin(ctx, KeyServerListener{Address: reachable(state.Admin)})
}

// KeyServerListener is the admin listener of a key server, and how to be let in.
type KeyServerListener struct {
	Address string // host:port
	// CA, Certificate and PrivateKey are PEM files for mutual TLS; all or none.
	CA, Certificate, PrivateKey string
	// ServerName is the name in its certificate; empty: the host's.
	ServerName string
}

// Check finds what is wrong with the wish without opening files.
func (l KeyServerListener) Check() error {
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		return fmt.Errorf("ask key server: %q is not host:port", l.Address)
	}
	given := 0
	for _, name := range []string{l.CA, l.Certificate, l.PrivateKey} {
		if name != "" {
			given++
		}
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case given != 0 && given != 3:
		return errors.New("ask key server: ca, certificate and private_key go together, because the listener's TLS is mutual")
	case given == 0 && host != "localhost" && (err != nil || !addr.IsLoopback()):
		return errors.New("ask key server: beyond this machine an admin listener speaks mutual TLS, so ca, certificate and private_key are needed")
	case given == 0 && l.ServerName != "":
		return errors.New("ask key server: server_name goes with ca, certificate and private_key")
	}
	return nil
}

func (l KeyServerListener) client() (*http.Client, string, error) {
	transport := &http.Transport{DisableKeepAlives: true} // no proxy: it is the operator's own network
	if l.CA == "" {
		return &http.Client{Transport: transport}, "http", nil
	}
	pem, err := readSmallFile(l.CA)
	if err != nil {
		return nil, "", fmt.Errorf("read certification authorities: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, "", fmt.Errorf("read certification authorities %s: it holds no certificate", l.CA)
	}
	pair, err := tls.LoadX509KeyPair(l.Certificate, l.PrivateKey)
	if err != nil {
		return nil, "", fmt.Errorf("load client certificate %s and its key: %w", l.Certificate, err)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, ServerName: l.ServerName, MinVersion: tls.VersionTLS13}
	return &http.Client{Transport: transport}, "https", nil
}

// maxStatus bounds what a server says of itself, in bytes.
const maxStatus = 8 << 20

// AskAdmin asks the admin listener of a key server. An error is about files of
// this machine; what the network and the server have to say is an answer.
func AskAdmin(ctx context.Context, l KeyServerListener) (KeyServerAnswer, error) {
	if err := l.Check(); err != nil {
		return KeyServerAnswer{}, err
	}
	client, scheme, err := l.client()
	if err != nil {
		return KeyServerAnswer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+l.Address+"/status?decisions=0", nil)
	if err != nil {
		return KeyServerAnswer{}, fmt.Errorf("ask key server: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return unreachableServer(err), nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	if err != nil {
		return unreachableServer(err), nil
	}
	var status keyserver.Status
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &status) != nil || status.Now.IsZero() {
		text := printable(string(bytes.TrimSpace(body[:min(len(body), 200)])))
		return KeyServerAnswer{State: KeyServerUnhealthy, Reason: fmt.Sprintf("it answers %s: %s", resp.Status, text)}, nil
	}
	return judge(&status), nil
}

// CollateralAge is how long ago the oldest collateral of a server was issued,
// by its own clock, and the worst state of any; false where it has none.
func CollateralAge(s *keyserver.Status) (issued time.Time, state string, ok bool) {
	state = "good"
	for _, d := range s.Collateral.Documents {
		if !d.Issued.IsZero() && (issued.IsZero() || d.Issued.Before(issued)) {
			issued = d.Issued
		}
		if d.State != "good" {
			state = d.State
		}
	}
	return issued, state, !issued.IsZero()
}
