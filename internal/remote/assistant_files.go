package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// Exit codes of scripts.
const (
	exitMissing = 44
	exitDiffers = 98
)

// Put implements [Executor]. It refuses what is secret, with [ErrKept], and
// what is larger than [MaxAssistantFile].
func (x *Assistant) Put(ctx context.Context, f File) error {
	err := ctx.Err()
	switch {
	case err != nil:
		err = context.Cause(ctx)
	case f.Secret:
		err = fmt.Errorf("it is secret: %w", ErrKept)
	case f.Size > MaxAssistantFile:
		err = fmt.Errorf("it has %d bytes, more than the %d that are sent by way of Cloud Assistant; use SSH, or let the machine fetch it", f.Size, MaxAssistantFile)
	case !path.IsAbs(f.Path):
		err = errNotAbsolute
	default:
		err = x.put(ctx, f)
	}
	if err != nil {
		return fmt.Errorf("put %s on %s: %w", f.Path, x, assistantError(err))
	}
	return nil
}

// finishScript gives what has arrived its owner, its mode and its name, after
// it has been compared with what was sent.
const finishScript = `t=%[1]s; f=%[2]s
found=$(sha256sum <"$t"); found=${found%%%% *}
[ "$found" = %[3]s ] || { rm -f "$t"; echo %[4]s; exit %[7]d; }
{ %[5]s chmod %[6]s "$t" && sync "$t" && mv -T "$t" "$f"; } 2>&1 || { rm -f "$t"; exit 99; }
`

func (x *Assistant) put(ctx context.Context, f File) error {
	data := make([]byte, f.Size)
	switch n, err := io.ReadFull(io.NewSectionReader(f.Body, 0, f.Size), data); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read source: it ended after %d of %d bytes", n, f.Size)
	case err != nil:
		return fmt.Errorf("read source: %w", err)
	}
	digest := sha256.Sum256(data)
	id := hex.EncodeToString(digest[:8])
	part := path.Join(path.Dir(f.Path), ".cc-tmp-"+id+"-"+path.Base(f.Path))
	owner := ""
	if f.Owner != nil {
		owner = fmt.Sprintf("chown %d:%d \"$t\" &&", f.Owner.UID, f.Owner.GID)
	}
	finish := fmt.Sprintf(finishScript, quoteArg(part), quoteArg(f.Path), hex.EncodeToString(digest[:]), quoteArg(errDiffers.Error()),
		owner, strconv.FormatUint(uint64(f.Mode.Perm()), 8), exitDiffers)
	giveUp := fmt.Sprintf("|| { rm -f %s; exit 97; }", quoteArg(part)) // half a file would keep the disk full
	told := func(n int64) {
		if f.Progress != nil && n > 0 {
			f.Progress(n)
		}
	}
	if f.Size <= assistantInline {
		if _, err := x.script(ctx, "exec 2>&1\numask 077\n"+inlineFile(data, quoteArg(part), giveUp)+finish); err != nil {
			return err
		}
		told(f.Size)
		return nil
	}
	parts := x.partsDirectory(id)
	for attempt := 0; ; attempt++ {
		resumed, err := x.putParts(ctx, parts, data, path.Dir(f.Path), told)
		if err != nil {
			return err
		}
		_, err = x.script(ctx, fmt.Sprintf("exec 2>&1\numask 077\ncat %s/0* >%s %s\nrm -rf %[1]s\n", quoteArg(parts), quoteArg(part), giveUp)+finish)
		var failed *scriptError
		if resumed && attempt == 0 && errors.As(err, &failed) && failed.code == exitDiffers { // what was there was not of this
			continue
		}
		return err
	}
}

// putParts sends the pieces that are not there yet.
func (x *Assistant) putParts(ctx context.Context, parts string, data []byte, target string, told func(int64)) (resumed bool, err error) {
	have, err := x.openParts(ctx, parts, target)
	if err != nil {
		return false, err
	}
	size := int64(len(data))
	for i := 0; int64(i)*ecs.MaxSentFile < size; i++ {
		from := int64(i) * ecs.MaxSentFile
		piece := data[from:min(from+ecs.MaxSentFile, size)]
		name := fmt.Sprintf("%06d", i)
		if have[name] == int64(len(piece)) {
			resumed = true
		} else if err := x.Client.SendFile(ctx, x.Instance, ecs.SentFile{Directory: parts, Name: name, Content: piece, Mode: "0600"}); err != nil {
			return false, err
		}
		told(from + int64(len(piece)))
	}
	return resumed, nil
}

// partsDirectory is where the pieces of a file are gathered. It is the same for
// the same content, so that the next attempt finds those that are there.
func (x *Assistant) partsDirectory(id string) string {
	name := x.scratch("put")
	return name[:strings.LastIndexByte(name, '-')+1] + id
}

// openParts makes the directory of pieces, and returns the sizes of those that
// are in it. It fails where the file could not be put in the end.
func (x *Assistant) openParts(ctx context.Context, parts, target string) (map[string]int64, error) {
	out, err := x.script(ctx, fmt.Sprintf(`exec 2>&1
[ -d %[1]s ] || { echo "there is no directory "%[1]s; exit 97; }
umask 077
mkdir -p %[2]s && [ -O %[2]s ] && chmod 700 %[2]s && cd %[2]s || exit 97
for f in 0*; do [ -f "$f" ] && echo "$f" $(wc -c <"$f"); done
:
`, quoteArg(target), quoteArg(parts)))
	if err != nil {
		return nil, err
	}
	have := map[string]int64{}
	for line := range strings.Lines(string(out)) {
		name, size, ok := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseInt(size, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("list pieces: %q makes no sense", cut(line))
		}
		have[name] = n
	}
	return have, nil
}

// getScript prints the size and the digest of a file, and all of it if it is
// small.
const getScript = `f=%s
[ -e "$f" ] || exit %d
exec 2>&1
size=$(wc -c <"$f") && sum=$(sha256sum <"$f") || exit 1
echo "cc $size" ${sum%%%% *}
[ "$size" -le %d ] && [ "$size" -le %d ] && cat "$f"
:
`

// Get implements [Executor].
func (x *Assistant) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	data, err := x.get(ctx, name, limit)
	if err != nil {
		return nil, fmt.Errorf("get %s from %s: %w", name, x, assistantError(err))
	}
	return data, nil
}

func (x *Assistant) get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	const inline = assistantPiece - 256
	report, err := x.script(ctx, fmt.Sprintf(getScript, quoteArg(name), exitMissing, inline, limit))
	var failed *scriptError
	if errors.As(err, &failed) && failed.code == exitMissing {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	line, data, _ := bytes.Cut(report, []byte("\n"))
	var size int64
	var sum string
	if _, err := fmt.Sscanf(string(line), "cc %d %64s", &size, &sum); err != nil {
		return nil, fmt.Errorf("the machine's report makes no sense: it begins %q", cut(string(line)))
	}
	switch {
	case size > limit:
		return nil, fmt.Errorf("it is longer than %d bytes", limit)
	case size > MaxAssistantFile:
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are fetched by way of Cloud Assistant; use SSH", size, MaxAssistantFile)
	case size > inline:
		var b bytes.Buffer
		if err := x.fetch(ctx, name, 0, size, &b); err != nil {
			return nil, err
		}
		data = b.Bytes()
	}
	if found := sha256.Sum256(data); hex.EncodeToString(found[:]) != sum {
		return nil, errors.New("it was changed while it was read")
	}
	return data, nil
}
