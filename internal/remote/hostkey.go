package remote

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// ErrHostKey is wrapped by the error of a host that shows another key than one
// that is known to be its own.
var ErrHostKey = errors.New("another host key than expected")

// hostKeyCheck returns what decides about the key that a host shows, and the
// algorithms to ask it for: a host has several keys and shows one of them, so
// it is asked for one that is known.
func hostKeyCheck(c SSHConfig) (ssh.HostKeyCallback, []string, error) {
	if len(c.HostKeys) > 0 {
		return listedHostKeys(c.HostKeys)
	}
	if c.KnownHosts == "" {
		return nil, nil, errors.New("the host's key must be known beforehand: give its host keys, or a known_hosts file")
	}
	check, err := knownhosts.New(c.KnownHosts)
	if err != nil {
		return nil, nil, fmt.Errorf("read known hosts: %w", err)
	}
	var types []string
	var known *knownhosts.KeyError
	// A key that cannot be there makes it list those that are.
	if errors.As(check(c.Address, &net.TCPAddr{IP: net.IPv4zero}, noKey()), &known) {
		for _, k := range known.Want {
			types = append(types, k.Key.Type())
		}
	}
	return func(host string, addr net.Addr, key ssh.PublicKey) error {
		err := check(host, addr, key)
		if err == nil {
			return nil
		}
		return hostKeyError(host, key, err, c.KnownHosts)
	}, keyAlgorithms(types), nil
}

func noKey() ssh.PublicKey {
	key, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil { // it has the right length
		panic(err)
	}
	return key
}

func hostKeyError(host string, key ssh.PublicKey, err error, file string) error {
	shown := key.Type() + " " + ssh.FingerprintSHA256(key)
	var unknown *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		return fmt.Errorf("check host key of %s: %w: it shows %s, which %s says is revoked", host, ErrHostKey, shown, file)
	case errors.As(err, &unknown) && len(unknown.Want) == 0:
		return fmt.Errorf("check host key of %s: it shows %s, and %s has no key for this host; compare it with the machine's own "+
			"(/etc/ssh/ssh_host_*_key.pub, seen on its console) and add it. It is not trusted on first use", host, shown, file)
	case errors.As(err, &unknown):
		return fmt.Errorf("check host key of %s: %w: it shows %s, but %s has another key for this host: it is another machine, or one in "+
			"between listens", host, ErrHostKey, shown, file)
	default:
		return fmt.Errorf("check host key of %s: %w", host, err)
	}
}

func listedHostKeys(lines []string) (ssh.HostKeyCallback, []string, error) {
	var known []ssh.PublicKey
	var types []string
	for i, line := range lines {
		key, err := ParseHostKey(line)
		if err != nil {
			return nil, nil, fmt.Errorf("read host key %d: %w", i+1, err)
		}
		known = append(known, key)
		types = append(types, key.Type())
	}
	return func(host string, _ net.Addr, key ssh.PublicKey) error {
		if slices.ContainsFunc(known, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) }) {
			return nil
		}
		return fmt.Errorf("check host key of %s: %w: it shows %s %s, which is not among the host keys given: it is another machine, or one in "+
			"between listens", host, ErrHostKey, key.Type(), ssh.FingerprintSHA256(key))
	}, keyAlgorithms(types), nil
}

// ParseHostKey reads a host's public key: its type and base64, as in the file
// /etc/ssh/ssh_host_ed25519_key.pub, with or without a comment.
func ParseHostKey(line string) (ssh.PublicKey, error) {
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is not of the form \"ssh-ed25519 AAAA...\"", cut(line))
	case len(options) > 0 || len(bytes.TrimSpace(rest)) > 0:
		return nil, fmt.Errorf("%q has more in it than a type and a key; leave the host name out", cut(line))
	case strings.Contains(key.Type(), "cert"):
		return nil, fmt.Errorf("%q is a certificate; give the key itself", cut(line))
	}
	return key, nil
}

func cut(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "..."
	}
	return s
}

// keyAlgorithms lists the signature algorithms for types of keys. RSA keys
// sign with SHA-2; SHA-1 signatures are not accepted.
func keyAlgorithms(types []string) []string {
	var algorithms []string
	for _, t := range types {
		if t == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		algorithms = append(algorithms, t)
	}
	slices.Sort(algorithms)
	return slices.Compact(algorithms)
}
