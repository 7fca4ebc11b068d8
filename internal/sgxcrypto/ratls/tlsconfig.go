package ratls

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

// ServerConfig returns the TLS side of an RA-TLS server: it serves every client of Gramine 1.0 to 1.9 and demands a
// certificate with evidence that binds its key. Whether the evidence is genuine, [Verifier.Handshake] tells. The caller may
// replace Certificates by GetCertificate.
func (*Verifier) ServerConfig(cert tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		// Gramine 1.0 to 1.7 know nothing newer than TLS 1.2, and nothing older is needed.
		MinVersion: tls.VersionTLS12,
		// The certificate is self-signed: there is no authority that a chain could lead to. Its dates are the same in every
		// enclave and end in 2030.
		ClientAuth: tls.RequireAnyClientCert,
		// Evidence is judged once a connection, so that none may skip it by resuming another. And mbedTLS 3.6.0, in
		// Gramine 1.8, takes the arrival of a TLS 1.3 session ticket for a read error: the enclave would fail after the
		// secret has been sent.
		SessionTicketsDisabled: true,
		// mbedTLS 2.26 (Gramine 1.0 to 1.2) prefers P-521, which costs the server several times as much as these; every
		// release offers P-256 as well. The hybrid is for clients to come: what is sent here is worth recording today.
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256},
		// For TLS 1.2; all releases offer all of these.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		// A client without evidence, or with another key's, is told so by an alert.
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := peerEvidence(cs)
			return err
		},
	}
}

// Peer is who is at the other end of a connection.
type Peer struct {
	// Evidence is what the peer claims; it holds the key that the evidence is bound to.
	Evidence *Evidence
	// Verdict is nil until the evidence has been found genuine.
	Verdict *dcap.Verdict
	// ServerName is the name by which the peer called us: the only thing a Gramine client can say about what it wants.
	ServerName string
	// TLSVersion and CipherSuite are those of the connection.
	TLSVersion, CipherSuite uint16
}

// Handshake runs the TLS handshake of a server connection made with ServerConfig, and then verifies the peer's
// evidence. ctx bounds both. When the evidence is refused the peer is returned together with the error, so
// that the refusal can say whom it concerns; its Verdict is nil then. The caller closes the connection.
//
// Evidence is verified after the handshake and not inside it: crypto/tls shows the certificate before it has checked
// the peer's signature, so a stranger could replay a certificate that it has seen (TLS 1.2 sends them in clear) and
// make us fetch collateral and write verdicts about an enclave that is not there. The price is that a refused enclave
// sees the connection close instead of an alert; all releases of Gramine take either for a failure.
func (v *Verifier) Handshake(ctx context.Context, conn *tls.Conn) (*Peer, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("shake hands: %w", err)
	}
	cs := conn.ConnectionState()
	evidence, err := peerEvidence(cs)
	if err != nil {
		return nil, err
	}
	peer := &Peer{Evidence: evidence, ServerName: cs.ServerName, TLSVersion: cs.Version, CipherSuite: cs.CipherSuite}
	peer.Verdict, err = v.Verify(ctx, evidence)
	return peer, err
}

// peerEvidence reads the evidence of a connection's peer.
func peerEvidence(cs tls.ConnectionState) (*Evidence, error) {
	if cs.DidResume {
		return nil, fail(NoCertificate, 0, "read RA-TLS certificate: the session was resumed, want a full handshake: enable no session tickets")
	}
	// Gramine sends one certificate and refuses more, since a self-signed one has no chain.
	if n := len(cs.PeerCertificates); n != 1 {
		return nil, fail(NoCertificate, 0, "read RA-TLS certificate: found %d certificates, want one", n)
	}
	return ParseCertificate(cs.PeerCertificates[0])
}
