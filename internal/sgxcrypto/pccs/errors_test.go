package pccs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestConnectionRemedy(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		err        error
	}{
		{"name", "ask it by the name that its certificate is for", x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h"}},
		{"expired", "have the service's certificate renewed; if it is current, this machine's clock is wrong", x509.CertificateInvalidError{Reason: x509.Expired}},
		{"no CA", "have the service's certificate replaced", x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}},
		{"DNS", "check the host's name", &net.DNSError{Err: "no such host", Name: "h"}},
		{"redirect", "", errors.New("it redirects to another host, h; give that URL if it is meant")},
		{"refused", "check the URL, the name resolution, the proxy", errors.New("connection refused")},
	} {
		got := connectionRemedy(fmt.Errorf("x: %w", tt.err))
		if !strings.HasPrefix(got, tt.want) || (tt.want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
