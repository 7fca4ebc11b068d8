package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
)

// adminFlags say where a server's administrative listener is and how to be let in.
type adminFlags struct {
	stateFile, address        string
	ca, cert, key, serverName string
}

func (a *adminFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.stateFile, "state-file", "", "`FILE` that the server was given with --state-file")
	f.StringVar(&a.address, "admin", "", "`HOST:PORT` of the server's admin listener")
	f.StringVar(&a.ca, "ca", "", "PEM `FILE` with the CA of the admin listener's certificate, where it speaks TLS")
	f.StringVar(&a.cert, "cert", "", "PEM `FILE` with the certificate that admin.tls.client_ca lets in")
	f.StringVar(&a.key, "key", "", "PEM `FILE` with its private key")
	f.StringVar(&a.serverName, "server-name", "", "`NAME` in the admin listener's certificate (default: HOST)")
}

// check finds wrong usage.
func (a *adminFlags) check(cmd *cobra.Command) error {
	tlsFlags := 0
	for _, f := range []string{a.ca, a.cert, a.key} {
		if f != "" {
			tlsFlags++
		}
	}
	switch {
	case tlsFlags != 0 && tlsFlags != 3:
		return usagef("%s: --ca, --cert and --key go together: the listener's TLS is mutual", cmd.CommandPath())
	case a.serverName != "" && tlsFlags == 0:
		return usagef("%s: --server-name goes with --ca, --cert and --key", cmd.CommandPath())
	case a.address == "":
		return nil
	}
	host, err := splitAddress(cmd, "--admin", a.address, "9433")
	if err != nil {
		return err
	}
	if addr, err := netip.ParseAddr(host); tlsFlags == 0 && host != "localhost" && (err != nil || !addr.IsLoopback()) {
		return usagef("%s: beyond the loopback an admin listener speaks mutual TLS: give --ca, --cert and --key", cmd.CommandPath())
	}
	return nil
}

func (a *adminFlags) secure() bool { return a.ca != "" }

// adminClient asks an administrative listener.
type adminClient struct {
	base string
	http *http.Client
}

// client connects to nothing yet.
func (a *adminFlags) client(address string) (*adminClient, error) {
	transport := &http.Transport{DisableKeepAlives: true} // no proxy: it is the operator's own network
	scheme := "http"
	if a.secure() {
		roots, err := readCertPool(a.ca)
		if err != nil {
			return nil, err
		}
		pair, err := tls.LoadX509KeyPair(a.cert, a.key)
		if err != nil {
			return nil, fmt.Errorf("load client certificate %s and its key: %w", a.cert, err)
		}
		scheme = "https"
		transport.TLSClientConfig = &tls.Config{
			RootCAs: roots, Certificates: []tls.Certificate{pair}, ServerName: a.serverName, MinVersion: tls.VersionTLS13,
		}
	}
	return &adminClient{base: scheme + "://" + dialable(address), http: &http.Client{Transport: transport}}, nil
}

// dialable turns the address of a listener on every address of this machine into one to connect to.
func dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if addr, aerr := netip.ParseAddr(host); err == nil && (host == "" || aerr == nil && addr.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

// maxAnswer bounds what is read of a listener, in bytes.
const maxAnswer = 32 << 20

// get reads JSON.
func (c *adminClient) get(ctx context.Context, path string, patience time.Duration, v any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return fmt.Errorf("ask key server: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return adminError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return adminError(err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("ask key server: it answers %s: %s", resp.Status, strings.TrimSpace(string(body[:min(len(body), 200)])))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("ask key server: read its answer: %w", err)
	}
	return nil
}

// adminError gives a listener that does not answer, or not us, its exit code.
func adminError(err error) error {
	var untrusted *tls.CertificateVerificationError
	var alert *net.OpError
	err = fmt.Errorf("ask key server: %w", err)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &untrusted):
		return withHint(withCode(exitNotGenuine, err), "compare --ca and --server-name with the certificate of the admin listener")
	case errors.As(err, &alert) && alert.Op == "remote error": // a TLS alert
		return withHint(withCode(exitUnreachable, err), "the listener does not accept the client certificate: compare it with admin.tls.client_ca")
	case strings.Contains(err.Error(), "malformed HTTP response"):
		return withHint(withCode(exitUnreachable, err), "the listener speaks TLS: give --ca, --cert and --key")
	default:
		return withCode(exitUnreachable, err)
	}
}

// findState reads a state file; that none holds it is an error.
func findState(path string) (*keyserver.State, error) {
	state, err := keyserver.ReadState(path)
	if err == nil && state == nil {
		err = withCode(exitUnreachable, fmt.Errorf("find key server: none holds the state file %s", path))
	}
	return state, err
}
