package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Statuses of an upload; what is not [ArtifactsInPlace] begins with
// [ArtifactsChanged] and goes on to say what.
const (
	ArtifactsInPlace = "in place"
	ArtifactsChanged = "changed: "
)

// Observe compares the machine's files with how they were left. It changes
// nothing.
func (u ArtifactUpload) Observe(ctx context.Context, had ArtifactRecord) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("look for uploaded files in %s on %s: %w", u.Directory, u.Host, err)
	}
	there, err := u.survey(ctx, slices.Sorted(maps.Keys(had.Files)), nil)
	var known *Error
	if errors.As(err, &known) { // a parent that became something else: the next apply says what to do
		return ArtifactsChanged + known.Err.Error(), nil
	}
	if err != nil {
		return fail(err)
	}
	if there.root == nil {
		return ArtifactsChanged + "the directory is missing", nil
	}
	changes := there.changes(had.Files, u.FileMode)
	list, err := u.readList(ctx)
	switch {
	case errors.As(err, &known):
		changes = append(changes, "the list of uploaded files is damaged")
	case err != nil:
		return fail(err)
	case list == nil:
		changes = append(changes, "the list of uploaded files is missing")
	case list.Upload != had.Upload:
		changes = append(changes, "the directory is kept by another upload")
	case !list.Established:
		changes = append(changes, "the list of uploaded files is not finished")
	}
	if len(changes) > 0 {
		return ArtifactsChanged + strings.Join(changes, "; "), nil
	}
	return ArtifactsInPlace, nil
}

// changes says what of files is not as it was.
func (s *survey) changes(files map[string]string, mode fs.FileMode) []string {
	var missing, altered, odd []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		e, exists := s.entries[name]
		switch {
		case !exists:
			missing = append(missing, name)
		case !e.regular():
			odd = append(odd, fmt.Sprintf("%s is %s", someNames([]string{name}), e.describe()))
		case s.digests[name] != files[name]:
			altered = append(altered, name)
		case e.perm != mode:
			odd = append(odd, fmt.Sprintf("%s has mode %04o", someNames([]string{name}), e.perm))
		}
	}
	var all []string
	if len(missing) > 0 {
		all = append(all, "missing: "+someNames(missing))
	}
	if len(altered) > 0 {
		all = append(all, "altered: "+someNames(altered))
	}
	if n := len(odd); n > maxNamed {
		odd = append(odd[:maxNamed], fmt.Sprintf("and %d more", n-maxNamed))
	}
	return append(all, odd...)
}

// Remove removes the files that the upload has put on the machine, and the
// directories it has made that are empty then. With keep the files stay, and
// only the list of them goes: they are nobody's then.
func (u ArtifactUpload) Remove(ctx context.Context, had ArtifactRecord, keep bool) error {
	fail := func(err error) error {
		return fmt.Errorf("remove uploaded files from %s on %s: %w", u.Directory, u.Host, err)
	}
	list, err := u.readList(ctx)
	var known *Error
	if err != nil && !errors.As(err, &known) {
		return fail(err)
	}
	if list != nil && list.Upload != had.Upload {
		return fail(&Error{Summary: "Directory of another upload", Err: errors.New("the files there are kept by another upload by now"),
			Remedy: "Forget this one with `terraform state rm`."})
	}
	names := slices.Sorted(maps.Keys(ownNames(list, had)))
	if !keep {
		if err := u.removeFiles(ctx, names); err != nil {
			return fail(err)
		}
	}
	if err := u.sweep(ctx, names); err != nil {
		return fail(err)
	}
	if err := u.unlink(ctx, []string{u.listPath()}); err != nil {
		return fail(err)
	}
	if list != nil && !keep {
		if err := u.rmdir(ctx, list.Directories); err != nil {
			return fail(err)
		}
	}
	return nil
}

func (u ArtifactUpload) removeFiles(ctx context.Context, names []string) error {
	sizes := map[string]int64{}
	for _, name := range names {
		sizes[name] = -1
	}
	there, err := u.survey(ctx, names, sizes)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return there.entries[name].kind == fs.ModeDir })
	return u.unlink(ctx, u.paths(names))
}

// FindArtifacts reads what an upload has put into a directory, for an import.
func (u ArtifactUpload) FindArtifacts(ctx context.Context) (ArtifactRecord, ArtifactSettings, error) {
	fail := func(err error) (ArtifactRecord, ArtifactSettings, error) {
		return ArtifactRecord{}, ArtifactSettings{}, fmt.Errorf("find uploaded files in %s on %s: %w", u.Directory, u.Host, err)
	}
	list, err := u.readList(ctx)
	if err != nil {
		return fail(err)
	}
	if list == nil || !list.Established {
		return fail(fmt.Errorf("there is no %s of an upload that came to its end", path.Base(u.listPath())))
	}
	there, err := u.look(ctx, u.paths(slices.Sorted(maps.Keys(list.Files))))
	if err != nil {
		return fail(err)
	}
	record := ArtifactRecord{Upload: list.Upload, Files: map[string]string{}, Stale: append([]string{}, list.Stale...)}
	for name, sum := range list.Files {
		if !slices.Contains(list.Stale, name) {
			record.Files[name] = sum
			record.Bytes += there[u.onHost(name)].size
		}
	}
	return record, list.Settings, nil
}
