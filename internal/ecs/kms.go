package ecs

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// MaxKMSPlaintext is how much the Key Management Service encrypts in one call,
// in bytes.
const MaxKMSPlaintext = 6 << 10

// Sealed is what a key of the Key Management Service made of a plaintext. It is
// no secret.
type Sealed struct {
	CiphertextBlob string // as Decrypt takes it
	KeyID          string // of the key, also where an alias was named
	KeyVersionID   string
}

var (
	encryptAction = &action{name: "Encrypt", product: productKMS, timeout: usualTimeout, remedies: kmsRemedies}
	decryptAction = &action{name: "Decrypt", product: productKMS, timeout: usualTimeout, remedies: decryptRemedies, secretReply: true}
)

// kmsRemedies say what to do about the codes of the service, of which some look
// like other services' codes for something else.
var kmsRemedies = map[string]string{
	"Forbidden.KeyNotFound":          "The key does not exist in this region and account, or its id is misspelled. A ciphertext can be decrypted in the region of its key only: check the region.",
	"Forbidden.KeyVersionNotFound":   "The version of the key that encrypted this is gone. Restore the key, or seal the wrap key anew.",
	"Forbidden.AliasNotFound":        "There is no such alias in this region and account. Write it as alias/NAME, and check the region.",
	"Forbidden.KmsServiceNotEnabled": "The account has not enabled the Key Management Service. Enable it in the console.",
	"Forbidden.NoPermission":         "The identity lacks the RAM permission kms:Encrypt or kms:Decrypt for this key, or the key's own policy does not name it.",
	"Forbidden.InDebt":               "The account is in arrears. Settle it in the console.",
	"Forbidden.InDebtOverdue":        "The account is in arrears. Settle it in the console.",
	"Rejected.Disabled":              "The key is disabled. Enable it in the console of the Key Management Service.",
	"Rejected.PendingDeletion":       "The key is about to be deleted, and what it encrypted with it. Cancel the deletion now, in the console of the Key Management Service.",
	"Rejected.PendingImport":         "The key has no material yet. Import it in the console of the Key Management Service.",
	"Rejected.Unavailable":           "The key is not available. The console of the Key Management Service says why.",
}

var decryptRemedies = func() map[string]string {
	all := map[string]string{
		"InvalidParameter": "Either this is no ciphertext of the Key Management Service in this region, or it was encrypted with another encryption context: give the same names and values.",
	}
	for code, remedy := range kmsRemedies {
		all[code] = remedy
	}
	return all
}()

// Encrypt encrypts up to [MaxKMSPlaintext] bytes with a symmetric key of the Key
// Management Service, named by its id, its ARN or its alias ("alias/NAME"). The
// encryption context, which may be nil, is authenticated and has to be given
// again to decrypt; it is no secret.
func (c *Client) Encrypt(ctx context.Context, keyID string, plaintext []byte, encryptionContext map[string]string) (*Sealed, error) {
	if len(plaintext) > MaxKMSPlaintext {
		return nil, fmt.Errorf("call %s: the plaintext has %d bytes, more than the %d that the service takes", encryptAction.name, len(plaintext), MaxKMSPlaintext)
	}
	params := map[string]string{"KeyId": keyID, "Plaintext": base64.StdEncoding.EncodeToString(plaintext)}
	set(params, "EncryptionContext", contextText(encryptionContext))
	var out struct {
		CiphertextBlob text
		KeyID          text `json:"KeyId"`
		KeyVersionID   text `json:"KeyVersionId"`
	}
	if err := c.call(ctx, encryptAction, params, &out); err != nil {
		return nil, err
	}
	if out.CiphertextBlob == "" {
		return nil, &Error{Action: encryptAction.name, Err: errors.New("the answer has no CiphertextBlob")}
	}
	return &Sealed{CiphertextBlob: string(out.CiphertextBlob), KeyID: string(out.KeyID), KeyVersionID: string(out.KeyVersionID)}, nil
}

// Decrypt decrypts a CiphertextBlob of the Key Management Service in the
// client's region. What it returns is the service's Plaintext, which is base64
// of what [Client.Encrypt] was given; the caller wipes it. No error, and nothing
// that is logged, repeats any of the answer.
func (c *Client) Decrypt(ctx context.Context, ciphertextBlob string, encryptionContext map[string]string) ([]byte, error) {
	params := map[string]string{"CiphertextBlob": ciphertextBlob}
	set(params, "EncryptionContext", contextText(encryptionContext))
	var out struct{ Plaintext secretText }
	if err := c.call(ctx, decryptAction, params, &out); err != nil {
		clear(out.Plaintext)
		return nil, err
	}
	if len(out.Plaintext) == 0 {
		return nil, &Error{Action: decryptAction.name, Err: errors.New("the answer has no Plaintext")}
	}
	return out.Plaintext, nil
}

// contextText writes an encryption context as the service takes it: a JSON
// object of strings, here in the order of their names.
func contextText(encryptionContext map[string]string) string {
	if len(encryptionContext) == 0 {
		return ""
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(encryptionContext) // strings cannot fail
	return string(bytes.TrimSpace(b.Bytes()))
}

// secretText is a JSON string in memory that can be wiped. Its errors repeat
// nothing of it.
type secretText []byte

// UnmarshalJSON implements json.Unmarshaler.
func (s *secretText) UnmarshalJSON(data []byte) error {
	if len(data) < 2 || data[0] != '"' {
		return errors.New("it is not a string")
	}
	inner := data[1 : len(data)-1]
	if bytes.IndexByte(inner, '\\') >= 0 { // as some encoders write "=" and "/"
		var escaped string
		if err := json.Unmarshal(data, &escaped); err != nil {
			return errors.New("it is not a string")
		}
		inner = []byte(escaped)
		defer clear(inner)
	}
	*s = append(make([]byte, 0, len(inner)), inner...)
	return nil
}

// String keeps the secret out of logs.
func (secretText) String() string { return "(redacted)" }

// GoString is like String, for %#v.
func (s secretText) GoString() string { return s.String() }

// MarshalJSON keeps it out of anything that is serialised.
func (s secretText) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }
