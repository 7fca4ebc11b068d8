package tlsmaterials

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of DNS names in octets (RFC 1035, section 2.3.4) and of a common name (RFC 5280, ub-common-name).
const (
	maxName       = 253
	maxLabel      = 63
	maxCommonName = 64
)

// ValidateServerName checks a name that clients will use to reach a server: a DNS name, a wildcard that covers one
// label, or an IP address. The name must already be in the form in which clients compare it, which is what the error
// says how to get.
func ValidateServerName(name string) error {
	if err := validateServerName(name); err != nil {
		return fmt.Errorf("server name %q: %w", name, err)
	}
	return nil
}

// ValidateClientName checks a name that a client is known by: a DNS name, without wildcard. It need not resolve.
func ValidateClientName(name string) error {
	if err := validateClientName(name); err != nil {
		return fmt.Errorf("client name %q: %w", name, err)
	}
	return nil
}

func validateClientName(name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return errors.New("an address does not tell clients apart: give a DNS name")
	}
	if strings.Contains(name, "*") {
		return errors.New("a wildcard does not tell clients apart: give a DNS name")
	}
	return validateDNSName(name)
}

func validateServerName(name string) error {
	if addr, err := netip.ParseAddr(name); err == nil {
		return validateAddress(name, addr)
	}
	if host, ok := strings.CutPrefix(name, "["); ok && strings.Contains(host, "]") {
		return errors.New("write an IPv6 address without brackets and port")
	}
	if base, ok := strings.CutPrefix(name, "*."); ok {
		if err := validateDNSName(base); err != nil {
			return err
		}
		if !strings.Contains(base, ".") {
			return errors.New("a wildcard needs at least two labels behind it")
		}
		return nil
	}
	if strings.Contains(name, "*") {
		return errors.New("a wildcard must be the whole first label, as in *.example.com")
	}
	return validateDNSName(name)
}

func validateAddress(name string, addr netip.Addr) error {
	switch {
	case addr.Zone() != "":
		return errors.New("an address in a certificate has no zone")
	case addr.Is4In6():
		return fmt.Errorf("write the IPv4 address itself, %s", addr.Unmap())
	case addr.IsUnspecified():
		return errors.New("this is an address to listen on; give the one that clients connect to")
	case addr.IsMulticast():
		return errors.New("a multicast address cannot be a server's")
	case addr.String() != name:
		return fmt.Errorf("write the address as %s", addr)
	}
	return nil
}

// validateDNSName checks the preferred syntax of RFC 1123, section 2.1, in lower case.
func validateDNSName(name string) error {
	if name == "" {
		return errors.New("the name is empty")
	}
	if err := validateCharacters(name); err != nil {
		return err
	}
	if strings.HasSuffix(name, ".") {
		return fmt.Errorf("names in certificates have no final dot: write %q", strings.TrimRight(name, "."))
	}
	if len(name) > maxName {
		return fmt.Errorf("the name has %d characters, more than %d", len(name), maxName)
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		switch {
		case label == "":
			return errors.New("two dots follow each other, or the first character is a dot")
		case len(label) > maxLabel:
			return fmt.Errorf("label %q has %d characters, more than %d", label, len(label), maxLabel)
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Errorf("label %q begins or ends with a hyphen", label)
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return errors.New("the last label is a number, and the whole is not a valid address")
	}
	return nil
}

func validateCharacters(name string) error {
	if i := strings.Index(name, "://"); i >= 0 {
		return fmt.Errorf("give the host alone, without %q and path", name[:i+3])
	}
	for i, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.':
		case r >= 'A' && r <= 'Z':
			return fmt.Errorf("write it in lower case, %q: clients compare without regard to case, plans do not", strings.ToLower(name))
		case r == ':':
			return errors.New("give the host alone, without port")
		case r == '/':
			return errors.New("give the host alone, without path")
		case r == '_':
			return errors.New("an underscore is not allowed in a host name; use a hyphen")
		case r == utf8.RuneError:
			return fmt.Errorf("byte %d is not valid UTF-8", i)
		case r > 0x7f:
			return fmt.Errorf("character %q is not ASCII: write the name as it is in DNS, in punycode (labels that begin with xn--)", r)
		default:
			return fmt.Errorf("character %q is not allowed in a host name", r)
		}
	}
	return nil
}

// ValidateServerNames checks the names of one server certificate: at least one, each valid, none twice.
func ValidateServerNames(names []string) error {
	if len(names) == 0 {
		return errors.New("no server name: give the name by which clients reach the server")
	}
	var errs []error
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			errs = append(errs, fmt.Errorf("server name %q is given twice", name))
			continue
		}
		errs = append(errs, ValidateServerName(name))
	}
	return errors.Join(errs...)
}

// commonName is the first name that fits, or none: the common name is for people and for clients that know no subject
// alternative names, and a certificate without it is valid.
func commonName(names []string) string {
	for _, name := range names {
		if len(name) <= maxCommonName {
			return name
		}
	}
	return ""
}
