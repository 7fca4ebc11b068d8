package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// artifactListName is the file in the directory of an upload that says what
// the upload has put there. Other files of the directory are none of its
// business.
const artifactListName = ".cc-upload.json"

// maxArtifactList bounds its size in bytes: ten thousand long names fit.
const maxArtifactList = 48 << 20

// artifactList is the content of that file. It is written before the first
// file is sent, so that what an interrupted upload has left is known as its own.
type artifactList struct {
	Format int `json:"format"`
	// Upload tells uploads apart.
	Upload string `json:"upload"`
	// Established: the upload once came to its end. What has not may be taken
	// over by the next attempt.
	Established bool `json:"established"`
	// Files are the SHA-256 of files by their name: what was put here, or is to be.
	Files map[string]string `json:"files"`
	// Stale are those of them that are no longer in the source.
	Stale []string `json:"stale,omitempty"`
	// Directories were made for them; "." is the directory itself.
	Directories []string `json:"directories"`
	// Settings are for an import.
	Settings ArtifactSettings `json:"settings"`
}

// ArtifactSettings are the settings of an upload that an import restores.
type ArtifactSettings struct {
	Source        string            `json:"source,omitempty"`
	Files         map[string]string `json:"files,omitempty"`
	Plaintext     []string          `json:"plaintext,omitempty"`
	FileMode      fs.FileMode       `json:"file_mode"`
	DirectoryMode fs.FileMode       `json:"directory_mode"`
}

func (u ArtifactUpload) listPath() string          { return path.Join(u.Directory, artifactListName) }
func (u ArtifactUpload) onHost(name string) string { return path.Join(u.Directory, name) }
func (u ArtifactUpload) paths(n []string) (p []string) {
	for _, name := range n {
		p = append(p, u.onHost(name))
	}
	return p
}

// readList reads the list; nil: there is none. The machine may be anybody's,
// so nothing in it is believed that could lead out of the directory.
func (u ArtifactUpload) readList(ctx context.Context) (*artifactList, error) {
	data, err := u.Host.Get(ctx, u.listPath(), maxArtifactList)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // No list is an answer and no error.
	}
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*artifactList, error) {
		return nil, &Error{Summary: "List of uploaded files damaged", Err: fmt.Errorf("read %s of %s: %w", u.listPath(), u.Host, err),
			Remedy: "Remove it there: the next apply compares what is in the directory and writes it again."}
	}
	var list artifactList
	if err := json.Unmarshal(data, &list); err != nil {
		return fail(errors.New("it is not what an upload writes"))
	}
	if list.Format != 1 || list.Upload == "" {
		return fail(fmt.Errorf("its format is %d, and this version knows 1", list.Format))
	}
	for name := range list.Files {
		if err := CheckArtifactName(name); err != nil {
			return fail(err)
		}
	}
	for _, name := range list.Directories {
		if !fs.ValidPath(name) {
			return fail(fmt.Errorf("it names the directory %q", name))
		}
	}
	return &list, nil
}

func (u ArtifactUpload) writeList(ctx context.Context, list *artifactList) error {
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	return u.Host.Put(ctx, remote.BytesFile(u.listPath(), append(data, '\n'), 0o600))
}

// hostEntry is what is under a path on the machine.
type hostEntry struct {
	kind fs.FileMode // type bits
	perm fs.FileMode
	size int64
}

func (e hostEntry) regular() bool { return e.kind == 0 }

// describe names what is not a regular file.
func (e hostEntry) describe() string {
	switch e.kind {
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	default:
		return "not a regular file"
	}
}

// overNames runs a program of the machine with paths as its last arguments, as
// often as it takes. Names are handed over on stdin: they may be anything, and
// ten thousand.
func (u ArtifactUpload) overNames(ctx context.Context, names []string, args ...string) (string, error) {
	if len(names) == 0 {
		return "", nil
	}
	out, complaints := &boundedBuffer{limit: 2 * maxArtifactList}, &boundedBuffer{limit: 2 * maxArtifactList}
	err := u.Host.Run(ctx, remote.Command{
		Args:  append([]string{"env", "LC_ALL=C", "xargs", "-0", "-r"}, args...),
		Stdin: strings.NewReader(strings.Join(names, "\x00") + "\x00"), Stdout: out, Stderr: complaints,
	})
	// 123: one of the runs failed, as stat does where a file is not there.
	if code, known := remote.ExitCode(err); !known || code != 0 && code != 123 {
		return "", err
	}
	for line := range strings.Lines(complaints.String()) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasSuffix(line, ": No such file or directory") && !strings.HasSuffix(line, ": Not a directory") {
			return "", fmt.Errorf("run %s on %s: %s", args[0], u.Host, printable(line))
		}
	}
	if out.over || complaints.over {
		return "", fmt.Errorf("run %s on %s: it wrote more than %d bytes", args[0], u.Host, out.limit)
	}
	return out.String(), nil
}

type boundedBuffer struct {
	bytes.Buffer
	limit int
	over  bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		b.over = true
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

// ReadFrom hides that of bytes.Buffer, which knows no limit.
func (b *boundedBuffer) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{b}, r)
}

// look says what is under paths, of those that exist. Links are not followed.
func (u ArtifactUpload) look(ctx context.Context, paths []string) (map[string]hostEntry, error) {
	out, err := u.overNames(ctx, paths, "stat", "--printf=%f %s %n\\0", "--")
	if err != nil {
		return nil, fmt.Errorf("look at files: %w", err)
	}
	found := map[string]hostEntry{}
	for record := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		if record == "" {
			continue
		}
		fields := strings.SplitN(record, " ", 3)
		if len(fields) != 3 {
			return nil, fmt.Errorf("look at files on %s: stat's answer makes no sense: %.60q", u.Host, record)
		}
		mode, errMode := strconv.ParseUint(fields[0], 16, 32)
		size, errSize := strconv.ParseInt(fields[1], 10, 64)
		if err := errors.Join(errMode, errSize); err != nil {
			return nil, fmt.Errorf("look at files on %s: stat's answer makes no sense: %w", u.Host, err)
		}
		found[fields[2]] = hostEntry{kind: unixType(mode), perm: fs.FileMode(mode & 0o7777), size: size}
	}
	return found, nil
}

// unixType is the type in a mode of stat(2).
func unixType(mode uint64) fs.FileMode {
	switch mode & 0o170000 {
	case 0o100000:
		return 0
	case 0o040000:
		return fs.ModeDir
	case 0o120000:
		return fs.ModeSymlink
	default:
		return fs.ModeIrregular
	}
}

// digests are the SHA-256 of files, by path, as the machine computes them.
func (u ArtifactUpload) digests(ctx context.Context, paths []string) (map[string]string, error) {
	out, err := u.overNames(ctx, paths, "sha256sum", "--zero", "--")
	if err != nil {
		return nil, fmt.Errorf("compute digests: %w", err)
	}
	const hexLen = 64
	found := map[string]string{}
	for record := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		if len(record) > hexLen+2 {
			found[record[hexLen+2:]] = record[:hexLen]
		}
	}
	return found, nil
}

// parents are the directories that hold names, without the upload's own, each
// after the one above it.
func parents(names []string) []string {
	all := map[string]bool{}
	for _, name := range names {
		for dir := path.Dir(name); dir != "." && !all[dir]; dir = path.Dir(dir) {
			all[dir] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// survey is what the machine has of names.
type survey struct {
	root    *hostEntry // nil: the directory is not there
	entries map[string]hostEntry
	digests map[string]string // of regular files
}

// survey looks at names. It fails where a directory above one of them is
// something else, such as a link: writing there, or removing, would be elsewhere.
// Digests are computed of files that have one of the sizes given for their
// name; nil computes all.
func (u ArtifactUpload) survey(ctx context.Context, names []string, sizes map[string]int64) (*survey, error) {
	above := parents(names)
	// The trailing slash follows a link at the directory itself, which is the user's choice.
	root := strings.TrimSuffix(u.Directory, "/") + "/"
	found, err := u.look(ctx, append(u.paths(append(above, names...)), root))
	if err != nil {
		return nil, err
	}
	s := &survey{entries: map[string]hostEntry{}, digests: map[string]string{}}
	if e, ok := found[root]; ok {
		s.root = &e
	}
	for _, dir := range above {
		e, ok := found[u.onHost(dir)]
		if !ok {
			continue
		}
		if e.kind != fs.ModeDir {
			return nil, &Error{Summary: "Directory not usable", Err: fmt.Errorf("look at %s on %s: it is %s and not a directory", u.onHost(dir), u.Host, e.describe()),
				Remedy: "Nothing is written or removed through it. Remove it there, or choose another directory."}
		}
		s.entries[dir] = e
	}
	var regular []string
	for _, name := range names {
		e, ok := found[u.onHost(name)]
		if !ok {
			continue
		}
		s.entries[name] = e
		if size, limited := sizes[name]; e.regular() && (!limited || size == e.size) {
			regular = append(regular, u.onHost(name))
		}
	}
	sums, err := u.digests(ctx, regular)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if sum, ok := sums[u.onHost(name)]; ok {
			s.digests[name] = sum
		}
	}
	return s, nil
}

// partPattern matches the name of a file on the way; its second group is the
// name it is to have.
var partPattern = regexp.MustCompile(`^` + regexp.QuoteMeta(artifactPart) + `[0-9a-f]{16}-(.*)$`)

// sweep removes what interrupted attempts have left of names.
func (u ArtifactUpload) sweep(ctx context.Context, names []string) error {
	names = append(slices.Clone(names), artifactListName)
	mine := map[string]bool{}
	dirs := []string{u.Directory}
	for _, name := range names {
		mine[u.onHost(name)] = true
	}
	dirs = append(dirs, u.paths(parents(names))...)
	out, err := u.overNames(ctx, dirs, "sh", "-c", `exec find "$@" -mindepth 1 -maxdepth 1 -type f -name '`+artifactPart+`*' -print0`, "sh")
	if err != nil {
		return fmt.Errorf("look for halves of files: %w", err)
	}
	var halves []string
	for file := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		if m := partPattern.FindStringSubmatch(path.Base(file)); m != nil && mine[path.Join(path.Dir(file), m[1])] {
			halves = append(halves, file)
		}
	}
	return u.unlink(ctx, halves)
}

// unlink removes files.
func (u ArtifactUpload) unlink(ctx context.Context, paths []string) error {
	if _, err := u.overNames(ctx, paths, "rm", "-f", "--"); err != nil {
		return fmt.Errorf("remove files: %w", err)
	}
	return nil
}
