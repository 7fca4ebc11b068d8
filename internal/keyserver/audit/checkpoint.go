package audit

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Checkpoint says how a log was at some time. Its text is that of a transparency log's checkpoint
// (https://c2sp.org/tlog-checkpoint) with the last entry's hash for the tree's, and the time as an extension line.
type Checkpoint struct {
	Origin string    // the signer's name
	Seq    uint64    // how many entries there are
	Head   hash      // of the last of them
	Time   time.Time // when it was signed
}

func (c *Checkpoint) sign(signer note.Signer) ([]byte, error) {
	text := fmt.Sprintf("%s\n%d\n%s\ntime %s\n", c.Origin, c.Seq, base64.StdEncoding.EncodeToString(c.Head[:]), c.Time.Format(time.RFC3339))
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return signed, nil
}

// ReadCheckpoint reads a signed checkpoint, and checks the signature.
func ReadCheckpoint(signed []byte, verifier note.Verifier) (*Checkpoint, error) {
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	return c, nil
}

func parseCheckpoint(text string) (*Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[4] != "" {
		return nil, fmt.Errorf("it has %d lines, want 4", len(lines)-1)
	}
	c := &Checkpoint{Origin: lines[0]}
	var err error
	if c.Seq, err = strconv.ParseUint(lines[1], 10, 64); err != nil || strconv.FormatUint(c.Seq, 10) != lines[1] {
		return nil, fmt.Errorf("its second line, %q, is not a number", lines[1])
	}
	head, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || copy(c.Head[:], head) != len(c.Head) || len(head) != len(c.Head) {
		return nil, errors.New("its third line is not a SHA-256 in base64")
	}
	stamp, ok := strings.CutPrefix(lines[3], "time ")
	if c.Time, err = time.Parse(time.RFC3339, stamp); err != nil || !ok {
		return nil, fmt.Errorf("its fourth line, %q, is not a time", lines[3])
	}
	return c, nil
}

// keyName is a part of what a note may be signed by.
var keyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9./_-]{0,199}$`)

// GenerateKey makes a key for checkpoints, under a name that tells servers apart. The first text is secret.
func GenerateKey(name string) (signer, verifier string, err error) {
	if !keyName.MatchString(name) {
		return "", "", fmt.Errorf("make checkpoint key: the name %q is not made of letters, digits, dots, hyphens and slashes", name)
	}
	signer, verifier, err = note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", "", fmt.Errorf("make checkpoint key: %w", err)
	}
	return signer, verifier, nil
}

// ParseSigner reads a secret key as GenerateKey makes it. The error never repeats the text.
func ParseSigner(text string) (note.Signer, error) {
	s, err := note.NewSigner(strings.TrimSpace(text))
	if err != nil {
		return nil, errors.New("read checkpoint key: it is not a key as 'ccctl audit gen-key' writes it")
	}
	return s, nil
}

// ParseVerifier reads a public key as GenerateKey makes it.
func ParseVerifier(text string) (note.Verifier, error) {
	v, err := note.NewVerifier(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("read checkpoint verification key: %w", err)
	}
	return v, nil
}
