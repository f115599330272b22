// What Go programs do with files, in the working directory. Ends with an error at the first thing that is not as on a disk.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

func main() {
	for _, exercise := range []func() error{files, directories, walks, parallel, mapped} {
		if err := exercise(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	fmt.Println("all as on a disk")
}

func files() error {
	if err := os.WriteFile("file", []byte("one\n"), 0o640); err != nil {
		return err
	}
	if _, err := os.OpenFile("file", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("O_EXCL: %v", err)
	}
	file, err := os.OpenFile("file", os.O_APPEND|os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	writer := bufio.NewWriter(file)
	for number := range 100_000 {
		fmt.Fprintln(writer, number)
	}
	if err := errors.Join(writer.Flush(), file.Sync()); err != nil {
		return err
	}
	last := make([]byte, 6)
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if _, err := file.ReadAt(last, info.Size()-6); err != nil || string(last) != "99999\n" {
		return fmt.Errorf("the last line is %q: %v", last, err)
	}
	if info.Mode().Perm() != 0o640 {
		return fmt.Errorf("mode %v", info.Mode())
	}
	if err := os.Truncate("file", 4); err != nil {
		return err
	}
	content, err := os.ReadFile("file")
	if err != nil || string(content) != "one\n" {
		return fmt.Errorf("truncated to %q: %v", content, err)
	}
	if _, err := os.Stat("missing"); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("missing: %v", err)
	}
	return nil
}

func directories() error {
	if err := os.MkdirAll("a/b/c", 0o755); err != nil {
		return err
	}
	if err := os.Remove("a"); !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("remove of a full directory: %v", err)
	}
	temporary, err := os.CreateTemp("a", "temporary-*")
	if err != nil {
		return err
	}
	if _, err := temporary.WriteString("saved"); err != nil {
		return err
	}
	if err := errors.Join(temporary.Close(), os.Rename(temporary.Name(), "a/saved"), os.Symlink("saved", "a/link")); err != nil {
		return err
	}
	content, err := os.ReadFile("a/link")
	if err != nil || string(content) != "saved" {
		return fmt.Errorf("through the link: %q, %v", content, err)
	}
	if err := os.Rename("a", "renamed"); err != nil {
		return err
	}
	return os.RemoveAll("renamed")
}

func walks() error {
	for number := range 50 {
		folder := fmt.Sprintf("walk/%d", number%7)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(fmt.Sprintf("%s/%d", folder, number), bytes.Repeat([]byte{1}, number), 0o644); err != nil {
			return err
		}
	}
	var count, size int
	err := filepath.WalkDir("walk", func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			count, size = count+1, size+int(info.Size())
		}
		return err
	})
	if err != nil || count != 50 || size != 1225 {
		return fmt.Errorf("walked over %d files of %d bytes: %v", count, size, err)
	}
	return nil
}

// Many goroutines write and read one file at once, each its own part of it.
func parallel() error {
	const partBytes, parts = 100_000, 40
	file, err := os.Create("parallel")
	if err != nil {
		return err
	}
	failed := make(chan error, parts)
	var group sync.WaitGroup
	for part := range parts {
		group.Go(func() {
			wanted := bytes.Repeat([]byte{byte(part + 1)}, partBytes)
			found := make([]byte, partBytes)
			if _, err := file.WriteAt(wanted, int64(part*partBytes)); err != nil {
				failed <- err
			} else if _, err := file.ReadAt(found, int64(part*partBytes)); err != nil {
				failed <- err
			} else if !bytes.Equal(found, wanted) {
				failed <- fmt.Errorf("part %d is another", part)
			}
		})
	}
	group.Wait()
	if len(failed) > 0 {
		return <-failed
	}
	if err := file.Close(); err != nil {
		return err
	}
	from, err := os.Open("parallel")
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create("copy")
	if err != nil {
		return err
	}
	// copy_file_range where the kernel can.
	if copied, err := io.Copy(to, from); err != nil || copied != partBytes*parts {
		return fmt.Errorf("copied %d bytes: %v", copied, err)
	}
	if err := to.Close(); err != nil {
		return err
	}
	one, err := os.ReadFile("parallel")
	if err != nil {
		return err
	}
	two, err := os.ReadFile("copy")
	if err != nil || !bytes.Equal(one, two) {
		return fmt.Errorf("the copy is another: %v", err)
	}
	return nil
}

func mapped() error {
	file, err := os.Open("parallel")
	if err != nil {
		return err
	}
	defer file.Close()
	view, err := syscall.Mmap(int(file.Fd()), 0, 4_000_000, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	if view[3_999_999] != 40 || view[0] != 1 {
		return errors.New("the mapped bytes are others")
	}
	return syscall.Munmap(view)
}
