package release

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// maxMember bounds a file of an archive, in bytes.
const maxMember = 256 << 20

// member is a file of an archive.
type member struct {
	data []byte
	mode fs.FileMode
}

// unpack reads an archive, told by its name.
func unpack(name string, data []byte) (map[string]member, error) {
	if strings.HasSuffix(name, ".zip") {
		return unzip(data)
	}
	return untar(data)
}

func unzip(data []byte) (map[string]member, error) {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	all := map[string]member{}
	for _, f := range r.File {
		if f.Mode().IsDir() {
			continue
		}
		in, err := f.Open()
		if err != nil {
			return nil, err
		}
		err = keep(all, f.Name, f.Mode(), in)
		_ = in.Close()
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func untar(data []byte) (map[string]member, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	all := map[string]member{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "root" || h.Gname != "root" {
			return nil, fmt.Errorf("%s belongs to %d (%s) and %d (%s), want root", h.Name, h.Uid, h.Uname, h.Gid, h.Gname)
		}
		if err := keep(all, h.Name, h.FileInfo().Mode(), r); err != nil {
			return nil, err
		}
	}
}

func keep(all map[string]member, name string, mode fs.FileMode, in io.Reader) error {
	if _, twice := all[name]; twice {
		return fmt.Errorf("it holds %s twice", name)
	}
	if !fs.ValidPath(name) || !mode.IsRegular() {
		return fmt.Errorf("it holds %q, which is no file with a plain name", name)
	}
	data, err := io.ReadAll(io.LimitReader(in, maxMember+1))
	switch {
	case err != nil:
		return err
	case len(data) > maxMember:
		return fmt.Errorf("%s is larger than %d bytes", name, maxMember)
	}
	all[name] = member{data, mode}
	return nil
}
