package keyserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// The secret provisioning protocol of Gramine 1.0 to 1.9 (tools/sgx/ra-tls/secret_prov.h and secret_prov_verify.c),
// inside one TLS connection:
//
//	client -> server  "SECRET_PROVISION_RA_TLS_REQUEST_V1" and NUL, 35 bytes
//	server -> client  "SECRET_PROVISION_RA_TLS_RESPONSE_V1:" and NUL, 37 bytes
//	server -> client  length of the secret, 4 bytes, big-endian
//	server -> client  the secret
//	both              close_notify
//
// There is no version to agree on, no name of a key, and no acknowledgement.
const (
	protocolRequest  = "SECRET_PROVISION_RA_TLS_REQUEST_V1\x00"
	protocolResponse = "SECRET_PROVISION_RA_TLS_RESPONSE_V1:\x00"
)

// errBadRequest is for a client that speaks something else; what it sent is not repeated.
var errBadRequest = errors.New("read request: it is not Gramine's secret provisioning request of version 1")

// readRequest reads exactly the request, however it is cut into records.
func readRequest(r io.Reader) error {
	var buf [len(protocolRequest)]byte
	for n := 0; n < len(buf); {
		m, err := r.Read(buf[n:])
		// Whoever speaks another protocol is told at its first wrong byte, not after it has sent 35.
		if string(buf[n:n+m]) != protocolRequest[n:n+m] {
			return errBadRequest
		}
		n += m
		switch {
		case n == len(buf):
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("read request: the client closed after %d of %d bytes", n, len(buf))
		case err != nil:
			return fmt.Errorf("read request: %w", err)
		}
	}
	return nil
}

// writeResponse sends the secret in one write, so that it is one TLS record, and wipes its copy.
func writeResponse(w io.Writer, secret []byte) error {
	if len(secret) == 0 || len(secret) > math.MaxInt32 {
		return fmt.Errorf("send secret: its length is %d bytes, want 1 to %d", len(secret), math.MaxInt32)
	}
	msg := make([]byte, 0, len(protocolResponse)+4+len(secret))
	msg = append(msg, protocolResponse...)
	msg = binary.BigEndian.AppendUint32(msg, uint32(len(secret)))
	msg = append(msg, secret...)
	defer clear(msg)
	if _, err := w.Write(msg); err != nil {
		return fmt.Errorf("send secret: %w", err)
	}
	return nil
}
