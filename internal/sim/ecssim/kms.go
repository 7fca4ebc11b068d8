package ecssim

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// kmsActions are those of the Key Management Service for symmetric keys.
var kmsActions = map[string]func(*Server, *call) (reply, error){
	"CreateKey":           createKey,
	"CreateAlias":         createAlias,
	"DescribeKey":         describeKey,
	"DisableKey":          keyState("Disabled"),
	"EnableKey":           keyState("Enabled"),
	"ScheduleKeyDeletion": keyState("PendingDeletion"),
	"Encrypt":             encrypt,
	"Decrypt":             decrypt,

	"GenerateDataKeyWithoutPlaintext": generateDataKeyWithoutPlaintext,
}

// kmsKey is a key that the cloud keeps.
type kmsKey struct {
	ID, Version, Alias, State, Region string
	Material                          []byte
}

func createKey(s *Server, c *call) (reply, error) {
	k := &kmsKey{ID: s.state.id("key"), State: "Enabled", Region: c.region, Material: make([]byte, 32)}
	k.Version = k.ID + "-v1"
	_, _ = rand.Read(k.Material)
	s.state.Keys[k.ID] = k
	return reply{"KeyMetadata": k.metadata(s)}, nil
}

func (k *kmsKey) metadata(s *Server) reply {
	return reply{
		"KeyId": k.ID, "KeyState": k.State, "KeyUsage": "ENCRYPT/DECRYPT", "KeySpec": "Aliyun_AES_256", "Origin": "Aliyun_KMS",
		"PrimaryKeyVersion": k.Version, "Arn": fmt.Sprintf("acs:kms:%s:%s:key/%s", k.Region, s.opts.Account, k.ID),
	}
}

func createAlias(s *Server, c *call) (reply, error) {
	if err := c.need("AliasName", "KeyId"); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(c.params["AliasName"], "alias/") {
		return nil, invalid("AliasName")
	}
	for _, k := range s.state.Keys {
		if k.Region == c.region && k.Alias == c.params["AliasName"] {
			return nil, refuse(http.StatusBadRequest, "AliasAlreadyExists", "AliasName Already Exists.")
		}
	}
	k, err := s.key(c, c.params["KeyId"])
	if err != nil {
		return nil, err
	}
	k.Alias = c.params["AliasName"]
	return reply{}, nil
}

func describeKey(s *Server, c *call) (reply, error) {
	k, err := s.key(c, c.params["KeyId"])
	if err != nil {
		return nil, err
	}
	return reply{"KeyMetadata": k.metadata(s)}, nil
}

func keyState(state string) func(*Server, *call) (reply, error) {
	return func(s *Server, c *call) (reply, error) {
		k, err := s.key(c, c.params["KeyId"])
		if err != nil {
			return nil, err
		}
		k.State = state
		return reply{}, nil
	}
}

func invalid(name string) error {
	return refuse(http.StatusBadRequest, "InvalidParameter", "The specified parameter %q is not valid.", name)
}

// key finds a key of the caller's region by id, ARN or alias.
func (s *Server) key(c *call, name string) (*kmsKey, error) {
	if name == "" {
		return nil, c.need("KeyId")
	}
	if strings.HasPrefix(name, "acs:kms:") {
		name = name[strings.LastIndexByte(name, '/')+1:]
	}
	for _, k := range s.state.Keys {
		if k.Region == c.region && (k.ID == name || k.Alias == name) {
			return k, nil
		}
	}
	if strings.HasPrefix(name, "alias/") {
		return nil, refuse(http.StatusNotFound, "Forbidden.AliasNotFound", "The specified Alias is not found.")
	}
	return nil, refuse(http.StatusNotFound, "Forbidden.KeyNotFound", "The specified Key is not found.")
}

// usable finds a key that may encrypt and decrypt.
func (s *Server) usable(c *call, name string) (*kmsKey, cipher.AEAD, error) {
	k, err := s.key(c, name)
	if err != nil {
		return nil, nil, err
	}
	if k.State != "Enabled" {
		return nil, nil, refuse(http.StatusConflict, "Rejected."+k.State, "The request was rejected because the key state is %s.", k.State)
	}
	block, err := aes.NewCipher(k.Material)
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	return k, aead, err
}

// maxPlaintext is what Encrypt takes, in bytes.
const maxPlaintext = 6 << 10

// encryptionContext is authenticated, in one spelling.
func encryptionContext(c *call) ([]byte, error) {
	text := c.params["EncryptionContext"]
	if text == "" {
		return nil, nil
	}
	var pairs map[string]string
	if err := json.Unmarshal([]byte(text), &pairs); err != nil || len(pairs) == 0 {
		return nil, invalid("EncryptionContext")
	}
	return json.Marshal(pairs) // in the order of the names
}

func encrypt(s *Server, c *call) (reply, error) {
	if err := c.need("KeyId", "Plaintext"); err != nil {
		return nil, err
	}
	return s.seal(c, []byte(c.params["Plaintext"]))
}

// seal makes a ciphertext, which says whose it is.
func (s *Server) seal(c *call, plaintext []byte) (reply, error) {
	if len(plaintext) > base64.StdEncoding.EncodedLen(maxPlaintext) {
		return nil, invalid("Plaintext")
	}
	bound, err := encryptionContext(c)
	if err != nil {
		return nil, err
	}
	k, aead, err := s.usable(c, c.params["KeyId"])
	if err != nil {
		return nil, err
	}
	blob := append([]byte(k.ID), 0)
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	blob = aead.Seal(append(blob, nonce...), nonce, plaintext, bound)
	return reply{"KeyId": k.ID, "KeyVersionId": k.Version, "CiphertextBlob": base64.StdEncoding.EncodeToString(blob)}, nil
}

func decrypt(s *Server, c *call) (reply, error) {
	if err := c.need("CiphertextBlob"); err != nil {
		return nil, err
	}
	bound, err := encryptionContext(c)
	if err != nil {
		return nil, err
	}
	blob, err := base64.StdEncoding.DecodeString(c.params["CiphertextBlob"])
	id, sealed, found := strings.Cut(string(blob), "\x00")
	if err != nil || !found {
		return nil, invalid("CiphertextBlob")
	}
	k, aead, err := s.usable(c, id)
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, invalid("CiphertextBlob")
	}
	plaintext, err := aead.Open(nil, []byte(sealed[:aead.NonceSize()]), []byte(sealed[aead.NonceSize():]), bound)
	if err != nil { // damaged, or of another context: the service does not tell
		return nil, invalid("CiphertextBlob")
	}
	return reply{"KeyId": k.ID, "KeyVersionId": k.Version, "Plaintext": string(plaintext)}, nil
}

// generateDataKeyWithoutPlaintext makes a random key that nobody has seen.
func generateDataKeyWithoutPlaintext(s *Server, c *call) (reply, error) {
	size := map[string]int{"AES_256": 32, "AES_128": 16, "": 32}[c.params["KeySpec"]]
	if size == 0 {
		return nil, invalid("KeySpec")
	}
	key := make([]byte, size)
	_, _ = rand.Read(key)
	answer, err := s.seal(c, []byte(base64.StdEncoding.EncodeToString(key)))
	return answer, err
}
