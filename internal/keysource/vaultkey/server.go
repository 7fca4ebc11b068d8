package vaultkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/ccctl/terraform-provider-cc/internal/keysource"
)

// Server says which Vault is asked and how. What is empty is for the environment to say.
type Server struct {
	Address   string // https://HOST:PORT; plain http for a loopback address
	Namespace string
	CAFile    string // PEM, for the server's certificate, instead of the system's authorities
	TokenFile string // read anew each time: an agent renews what is in it
}

// Check tells what is wrong with it, as far as it can be told without opening files.
func (s Server) Check() error {
	if s.Address == "" {
		return nil
	}
	return checkAddress("the address", s.Address)
}

// client makes a client for one reading; done gives its connection back.
func (s Server) client() (c *api.Client, done func(), err error) {
	if skip, err := strconv.ParseBool(os.Getenv(api.EnvVaultSkipVerify)); err == nil && skip {
		return nil, nil, fmt.Errorf("%s is set: the server's certificate is always verified here; name its authority in %s", api.EnvVaultSkipVerify, api.EnvVaultCACert)
	}
	conf := api.DefaultConfig()
	if conf.Error != nil {
		return nil, nil, fmt.Errorf("read Vault's environment: %w", conf.Error)
	}
	address, said := s.Address, "the address"
	if address == "" {
		address, said = firstEnv(api.EnvVaultAgentAddr, api.EnvVaultAddress, "BAO_ADDR"), api.EnvVaultAddress
	}
	if address == "" {
		return nil, nil, fmt.Errorf("%s is not set: which server keeps the key?", api.EnvVaultAddress)
	}
	if err := checkAddress(said, address); err != nil {
		return nil, nil, err
	}
	conf.Address, conf.AgentAddress = address, ""
	if s.CAFile != "" {
		if err := conf.ConfigureTLS(&api.TLSConfig{CACert: s.CAFile}); err != nil {
			return nil, nil, fmt.Errorf("read certification authorities %s: %w", s.CAFile, err)
		}
	}
	c, err = api.NewClient(conf)
	if err != nil {
		return nil, nil, fmt.Errorf("set up Vault's client: %w", err)
	}
	token, err := s.token()
	if err != nil {
		return nil, nil, err
	}
	c.SetToken(token)
	if s.Namespace != "" {
		c.SetNamespace(s.Namespace)
	}
	c.SetLogger(nil)
	return c, conf.HttpClient.CloseIdleConnections, nil
}

// checkAddress lets plain http lead to this machine alone: the token goes that way.
func checkAddress(said, address string) error {
	u, err := url.Parse(address)
	if err == nil && u.User != nil {
		return fmt.Errorf("%s has a user name or password in it", said)
	}
	if err != nil || u.Host == "" {
		return fmt.Errorf("%s is %q, want https://HOST:PORT", said, address)
	}
	if u.Scheme == "https" {
		return nil
	}
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	if u.Scheme == "http" && (host == "localhost" || err == nil && addr.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("%s is %q: want https, plain http is for loopback addresses only", said, address)
}

func firstEnv(names ...string) string {
	for _, name := range names {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return ""
}

func (s Server) token() (string, error) {
	name, instead := s.TokenFile, ""
	if name == "" {
		if token := firstEnv(api.EnvVaultToken, "BAO_TOKEN"); token != "" {
			return token, nil
		}
		name, instead = os.Getenv("VAULT_TOKEN_FILE"), api.EnvVaultToken+" is not set, and "
	}
	if name == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("%sthere is no home directory with a .vault-token", instead)
		}
		name = filepath.Join(home, ".vault-token")
	}
	token, err := os.ReadFile(name) //nolint:gosec // The operator names the file.
	if err != nil && instead != "" {
		return "", fmt.Errorf("%sits file cannot be read: %w", instead, err)
	}
	if err != nil {
		return "", fmt.Errorf("read Vault's token: %w", err)
	}
	defer clear(token)
	text := bytes.TrimSpace(token)
	if len(text) == 0 {
		return "", fmt.Errorf("%s%s is empty", instead, name)
	}
	return string(text), nil
}

// explain says in a line what the server said in several. What may go well later is a [*keysource.UnreachableError].
func explain(c *api.Client, err error) error {
	unreachable := func(err error) error { return &keysource.UnreachableError{Place: c.Address(), Err: err} }
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		var network *net.OpError
		if errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) {
			return unreachable(err)
		}
		return fmt.Errorf("ask %s: %w", c.Address(), err)
	}
	said := strings.Join(answer.Errors, "; ")
	if answer.RawError || said == "" {
		said = http.StatusText(answer.StatusCode)
	}
	said = strings.Join(strings.Fields(said), " ")
	var hint string
	switch answer.StatusCode {
	case http.StatusForbidden:
		hint = "; the token is not valid, or its policy does not allow this path"
	case http.StatusNotFound:
		hint = "; is the mount right?"
	case http.StatusServiceUnavailable:
		return unreachable(fmt.Errorf("it answered %d: %s; the server is sealed", answer.StatusCode, said))
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
		return unreachable(fmt.Errorf("it answered %d: %s", answer.StatusCode, said))
	}
	return fmt.Errorf("%s answered %d: %s%s", c.Address(), answer.StatusCode, said, hint)
}
