package deploy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// ArtifactUpload is a set of files on a machine, as it is wished to be. The
// machine needs the GNU programs that every Linux distribution for servers has.
//
// Beside the files it keeps a list of them in the directory, which tells its
// files from others: those are neither replaced nor removed.
type ArtifactUpload struct {
	Source ArtifactSource
	// Directory is the absolute path on the machine.
	Directory string
	// FileMode and DirectoryMode are the permission bits of files, and of
	// directories that have to be made.
	FileMode, DirectoryMode fs.FileMode
	// DeleteStale removes files that were uploaded before and are no longer in
	// the source.
	DeleteStale bool
	// AllowOverwrite replaces files of the same names that this upload has not
	// put there.
	AllowOverwrite bool
	// Host is the machine.
	Host remote.Executor
	// Progress, if given, is told of each file that is sent, and returns what
	// is told how many bytes of it have been.
	Progress func(a Artifact) func(sent int64)
}

// ArtifactRecord is what is known of an upload from before; it is empty for the
// first time.
type ArtifactRecord struct {
	// Upload tells uploads apart.
	Upload string
	// Files are the SHA-256 by the names of files.
	Files map[string]string
	// Stale are files that are no longer in the source and were not removed.
	Stale []string
	// Bytes is the size of all files of the source.
	Bytes int64
}

// Check finds what is wrong with the wish without opening files.
func (u ArtifactUpload) Check() error {
	if !path.IsAbs(u.Directory) || path.Clean(u.Directory) != u.Directory || u.Directory == "/" {
		return fmt.Errorf("upload files: the directory %q is not an absolute path below / in its shortest form", u.Directory)
	}
	if strings.ContainsAny(u.Directory, "\x00\n") {
		return fmt.Errorf("upload files: the directory %q holds a control character", u.Directory)
	}
	for name := range u.Source.Files {
		if err := CheckArtifactName(name); err != nil {
			return fmt.Errorf("upload files: %w", err)
		}
	}
	return nil
}

// Apply makes the machine's files as wished: it sends those that differ, each
// of which is the old or the new at any time. Files that were sent before an
// error stay, and are not sent again.
func (u ArtifactUpload) Apply(ctx context.Context, had ArtifactRecord) (ArtifactRecord, error) {
	fail := func(err error) (ArtifactRecord, error) {
		return ArtifactRecord{}, fmt.Errorf("upload files to %s on %s: %w", u.Directory, u.Host, err)
	}
	if err := u.Check(); err != nil {
		return ArtifactRecord{}, err
	}
	wanted, err := u.Source.complete(ctx)
	if err != nil {
		return ArtifactRecord{}, err
	}
	list, err := u.readList(ctx)
	if err != nil {
		return fail(err)
	}
	if list, err = u.claim(list, had); err != nil {
		return fail(err)
	}
	own := ownNames(list, had)
	a := &artifactApply{ArtifactUpload: u, wanted: wanted, own: own, list: list}
	if err := a.compare(ctx); err != nil {
		return fail(err)
	}
	if err := a.prepare(ctx); err != nil {
		return fail(err)
	}
	if err := a.send(ctx); err != nil {
		return fail(err)
	}
	record, err := a.finish(ctx)
	if err != nil {
		return fail(err)
	}
	return record, nil
}

// claim decides whose the directory is, and returns the list to go on with.
func (u ArtifactUpload) claim(list *artifactList, had ArtifactRecord) (*artifactList, error) {
	switch {
	case list == nil:
		id := had.Upload
		if id == "" {
			id = rand.Text()
		}
		list = &artifactList{Format: 1, Upload: id}
	case had.Upload == "" && !list.Established: // a first attempt that was interrupted
	case list.Upload != had.Upload:
		return nil, &Error{Summary: "Directory of another upload", Err: errors.New("the files there are kept by another upload"),
			Remedy: "Choose another directory. If that upload is this one, whose state was lost, import it."}
	}
	if list.Files == nil {
		list.Files = map[string]string{}
	}
	return list, nil
}

// ownNames are the names of files that the upload has put on the machine, or meant to.
func ownNames(list *artifactList, had ArtifactRecord) map[string]bool {
	own := map[string]bool{}
	for name := range had.Files {
		own[name] = true
	}
	for _, name := range had.Stale {
		own[name] = true
	}
	if list != nil && (list.Upload == had.Upload || had.Upload == "") {
		for name := range list.Files {
			own[name] = true
		}
	}
	return own
}

// artifactApply is an apply under way.
type artifactApply struct {
	ArtifactUpload
	wanted []Artifact
	own    map[string]bool
	list   *artifactList
	there  *survey
	todo   []Artifact // to be sent
	modes  []string   // to be given their mode
	stale  []string   // own, there, and no longer wanted
}

// compare finds what has to be done, and fails before anything is touched if
// something is in the way.
func (a *artifactApply) compare(ctx context.Context) error {
	sizes, wanted := map[string]int64{}, map[string]bool{}
	for _, w := range a.wanted {
		sizes[w.Name], wanted[w.Name] = w.Size, true
	}
	names := slices.Sorted(maps.Keys(sizes))
	for name := range a.own {
		if !wanted[name] {
			names = append(names, name)
			sizes[name] = -1 // its digest does not matter
		}
	}
	var err error
	if a.there, err = a.survey(ctx, names, sizes); err != nil {
		return err
	}
	var foreign []string
	for _, w := range a.wanted {
		e, exists := a.there.entries[w.Name]
		same := exists && e.regular() && a.there.digests[w.Name] == w.SHA256
		switch {
		case exists && e.kind == fs.ModeDir:
			return &Error{Summary: "Directory in the way", Err: fmt.Errorf("write %s: it is a directory there", a.onHost(w.Name)),
				Remedy: "Remove it there, or give the file another name."}
		case exists && !same && !a.own[w.Name] && !a.AllowOverwrite:
			foreign = append(foreign, w.Name)
		case !same:
			a.todo = append(a.todo, w)
		case e.perm != a.FileMode:
			a.modes = append(a.modes, w.Name)
		}
	}
	if len(foreign) > 0 {
		return &Error{Summary: "Files of others in the way",
			Err:    fmt.Errorf("write files: these are there, differ, and were not uploaded by this: %s", someNames(foreign)),
			Remedy: "Remove them there, choose another directory, or set allow_overwrite if they may be replaced."}
	}
	for name := range a.own {
		if e, exists := a.there.entries[name]; exists && !wanted[name] && e.kind != fs.ModeDir {
			a.stale = append(a.stale, name)
		}
	}
	slices.Sort(a.stale)
	return nil
}

// prepare makes directories and writes down what is going to be there.
func (a *artifactApply) prepare(ctx context.Context) error {
	mode := fmt.Sprintf("%04o", a.DirectoryMode)
	known := map[string]bool{}
	for _, dir := range a.list.Directories {
		known[dir] = true
	}
	if a.there.root == nil {
		for _, args := range [][]string{{"mkdir", "-p", "--", path.Dir(a.Directory)}, {"mkdir", "-m", mode, "--", a.Directory}} {
			if err := a.Host.Run(ctx, remote.Command{Args: args}); err != nil {
				return fmt.Errorf("make directory: %w", err)
			}
		}
		known["."] = true
	} else if len(a.own) == 0 {
		// An attempt that got no further than this has left it empty.
		out, err := remote.Output(ctx, a.Host, "find", a.Directory+"/", "-mindepth", "1", "-print", "-quit")
		if err != nil {
			return fmt.Errorf("look into directory: %w", err)
		}
		if len(out) == 0 {
			known["."] = true
		}
	}
	var missing []string
	for _, dir := range parents(artifactNames(a.wanted)) {
		if _, exists := a.there.entries[dir]; !exists {
			missing = append(missing, dir)
			known[dir] = true
		}
	}
	for name := range a.own {
		if _, ok := a.list.Files[name]; !ok {
			a.list.Files[name] = "" // its digest is in the state
		}
	}
	for _, w := range a.wanted {
		a.list.Files[w.Name] = w.SHA256
	}
	a.list.Directories = slices.Sorted(maps.Keys(known))
	a.list.Settings = ArtifactSettings{
		Source: a.Source.Directory, Files: a.Source.Files, Plaintext: a.Source.Plaintext, FileMode: a.FileMode, DirectoryMode: a.DirectoryMode,
	}
	if err := a.writeList(ctx, a.list); err != nil {
		return err
	}
	if len(missing) > 0 {
		if _, err := a.overNames(ctx, a.paths(missing), "mkdir", "-m", mode, "--"); err != nil {
			return fmt.Errorf("make directories: %w", err)
		}
	}
	return nil
}

func artifactNames(all []Artifact) []string {
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	return names
}

func (a *artifactApply) send(ctx context.Context) error {
	for i := range a.todo {
		if err := a.sendOne(ctx, a.todo[i]); err != nil {
			return fmt.Errorf("file %d of %d to be sent: %w", i+1, len(a.todo), err)
		}
	}
	if len(a.modes) > 0 {
		if _, err := a.overNames(ctx, a.paths(a.modes), "chmod", strconv.FormatUint(uint64(a.FileMode), 8), "--"); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	return nil
}

// sendOne sends a file that is what it was when it was looked at.
func (a *artifactApply) sendOne(ctx context.Context, w Artifact) error {
	size, digest := w.Size, w.SHA256
	// Once more, and what is open now is what is sent: another file may have got the name since.
	f, err := w.open(slices.Contains(a.Source.Plaintext, w.Name))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	body := &digestedBody{f: f, sum: sha256.New()}
	file := remote.File{Path: a.onHost(w.Name), Mode: a.FileMode, Size: size, Body: body}
	if a.Progress != nil {
		file.Progress = a.Progress(w)
	}
	if w.Size == size {
		if err := a.Host.Put(ctx, file); err != nil {
			return err
		}
	}
	if w.Size != size || hex.EncodeToString(body.sum.Sum(nil)) != digest {
		return &Error{Summary: "File changed while it was sent", Err: fmt.Errorf("send %s: it is not what it was when it was looked at", w.Path),
			Remedy: "Apply again when nothing writes to it any more."}
	}
	return nil
}

// digestedBody computes the digest of what is read from its beginning to its
// end, once: Put makes sure that this is what arrives.
type digestedBody struct {
	f   io.ReaderAt
	sum hash.Hash
	at  int64
}

func (d *digestedBody) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.f.ReadAt(p, off)
	if off == d.at {
		d.sum.Write(p[:n])
		d.at += int64(n)
	}
	return n, err
}

// finish removes what is stale, and writes down what is there.
func (a *artifactApply) finish(ctx context.Context) (ArtifactRecord, error) {
	record := ArtifactRecord{Upload: a.list.Upload, Files: map[string]string{}, Stale: []string{}}
	for _, w := range a.wanted {
		record.Files[w.Name] = w.SHA256
		record.Bytes += w.Size
	}
	if a.DeleteStale {
		if err := a.unlink(ctx, a.paths(a.stale)); err != nil {
			return record, err
		}
		if err := a.dropDirectories(ctx); err != nil {
			return record, err
		}
	} else {
		record.Stale = append(record.Stale, a.stale...)
	}
	if err := a.sweep(ctx, slices.Sorted(maps.Keys(a.list.Files))); err != nil {
		return record, err
	}
	// Now without what is gone.
	files := maps.Clone(record.Files)
	for _, name := range record.Stale {
		files[name] = a.list.Files[name]
	}
	a.list.Files, a.list.Stale, a.list.Established = files, record.Stale, true
	// All is done, and whether this is known or not is of no account: a first upload that
	// failed here would find itself established, and take itself for another one.
	if err := a.writeList(ctx, a.list); !errors.Is(err, remote.ErrConnectionLost) {
		return record, err
	}
	return record, nil
}

// dropDirectories removes directories of the upload that have become empty.
func (a *artifactApply) dropDirectories(ctx context.Context) error {
	needed := map[string]bool{".": true}
	for _, dir := range parents(artifactNames(a.wanted)) {
		needed[dir] = true
	}
	var drop, keep []string
	for _, dir := range a.list.Directories {
		if needed[dir] {
			keep = append(keep, dir)
		} else {
			drop = append(drop, dir)
		}
	}
	a.list.Directories = keep
	return a.rmdir(ctx, drop)
}

// rmdir removes directories that are empty, those below first.
func (u ArtifactUpload) rmdir(ctx context.Context, dirs []string) error {
	dirs = slices.Sorted(slices.Values(dirs))
	slices.Reverse(dirs)
	if _, err := u.overNames(ctx, u.paths(dirs), "rmdir", "--ignore-fail-on-non-empty", "--"); err != nil {
		return fmt.Errorf("remove directories: %w", err)
	}
	return nil
}
