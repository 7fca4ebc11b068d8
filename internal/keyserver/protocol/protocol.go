// Package protocol is the server's side of Gramine's secret provisioning protocol, versions 1.0 to 1.9 of Gramine
// (tools/sgx/ra-tls/secret_prov.h and secret_prov_verify.c), inside one TLS connection:
//
//	client -> server  "SECRET_PROVISION_RA_TLS_REQUEST_V1" and NUL, 35 bytes
//	server -> client  "SECRET_PROVISION_RA_TLS_RESPONSE_V1:" and NUL, 37 bytes
//	server -> client  length of the secret, 4 bytes, big-endian
//	server -> client  the secret
//	both              close_notify
//
// There is no version to agree on, no name of a key, and no acknowledgement.
package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Request and the beginning of the response, NUL included.
const (
	Request  = "SECRET_PROVISION_RA_TLS_REQUEST_V1\x00"
	response = "SECRET_PROVISION_RA_TLS_RESPONSE_V1:\x00"
)

// ErrBadRequest is for a client that speaks something else; what it sent is not repeated.
var ErrBadRequest = errors.New("read request: it is not Gramine's secret provisioning request of version 1")

// ReadRequest reads exactly the request, however it is cut into records.
func ReadRequest(r io.Reader) error {
	var buf [len(Request)]byte
	for n := 0; n < len(buf); {
		m, err := r.Read(buf[n:])
		// Whoever speaks another protocol is told at its first wrong byte, not after it has sent 35.
		if string(buf[n:n+m]) != Request[n:n+m] {
			return ErrBadRequest
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

// WriteResponse sends the secret in one write, so that it is one TLS record, and wipes its copy.
func WriteResponse(w io.Writer, secret []byte) error {
	if len(secret) == 0 || len(secret) > math.MaxInt32 {
		return fmt.Errorf("send secret: its length is %d bytes, want 1 to %d", len(secret), math.MaxInt32)
	}
	msg := make([]byte, 0, len(response)+4+len(secret))
	msg = append(msg, response...)
	msg = binary.BigEndian.AppendUint32(msg, uint32(len(secret)))
	msg = append(msg, secret...)
	defer clear(msg)
	if _, err := w.Write(msg); err != nil {
		return fmt.Errorf("send secret: %w", err)
	}
	return nil
}
