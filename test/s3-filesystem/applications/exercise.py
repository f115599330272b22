"""What Python programs do with files, in the folder that is given. Ends with an error at the first thing that is not as on a disk."""

import errno
import fcntl
import filecmp
import gzip
import json
import mmap
import os
import pathlib
import shutil
import stat
import sys
import tarfile
import tempfile
import zipfile

root = pathlib.Path(sys.argv[1])
os.chdir(root)


def open_modes():
    with open("modes", "x") as file:
        file.write("one\n")
    try:
        open("modes", "x")
        raise AssertionError("mode x opened a file that is there")
    except FileExistsError:
        pass
    with open("modes", "a") as file:
        assert file.tell() == 4
        file.write("two\n")
    with open("modes", "a+") as file:
        file.write("three\n")
        file.seek(0)
        assert file.readlines() == ["one\n", "two\n", "three\n"]
    with open("modes", "r+") as file:
        file.write("ONE")
        file.seek(0, os.SEEK_END)
        file.write("four\n")
    assert pathlib.Path("modes").read_text() == "ONE\ntwo\nthree\nfour\n"
    with open("modes", "rb+", buffering=0) as file:
        file.seek(4)
        assert file.read(3) == b"two"
        file.truncate(4)
    assert pathlib.Path("modes").read_bytes() == b"ONE\n"
    with open("modes", "w+") as file:
        file.write("new")
        file.seek(0)
        assert file.read() == "new"
    for flags, code in [(os.O_RDONLY | os.O_DIRECTORY, errno.ENOTDIR), (os.O_WRONLY | os.O_CREAT | os.O_EXCL, errno.EEXIST)]:
        try:
            os.open("modes", flags)
            raise AssertionError("opened")
        except OSError as error:
            assert error.errno == code, error


def descriptors():
    descriptor = os.open("descriptor", os.O_RDWR | os.O_CREAT, 0o640)
    assert os.pwrite(descriptor, b"0123456789", 100) == 10
    assert os.pread(descriptor, 10, 95) == b"\0\0\0\0\0" + b"01234"
    assert os.pread(descriptor, 10, 200) == b""
    assert os.fstat(descriptor).st_size == 110
    assert os.writev(descriptor, [b"ab", b"cd"]) == 4
    other = os.dup(descriptor)
    assert os.lseek(other, 0, os.SEEK_CUR) == 4
    os.ftruncate(descriptor, 50)
    os.fsync(descriptor)
    os.fdatasync(descriptor)
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(descriptor)
    os.close(other)
    assert stat.S_IMODE(os.stat("descriptor").st_mode) == 0o640


def names():
    os.makedirs("a/b/c")
    os.makedirs("a/b/c", exist_ok=True)
    pathlib.Path("a/file").touch()
    pathlib.Path("a/b/file").write_text("text")
    os.symlink("b/file", "a/link")
    assert os.readlink("a/link") == "b/file" and pathlib.Path("a/link").read_text() == "text"
    assert sorted(entry.name for entry in os.scandir("a")) == ["b", "file", "link"]
    kinds = {entry.name: (entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in os.scandir("a")}
    assert kinds == {"b": (True, False), "file": (False, False), "link": (False, True)}
    assert [(top, sorted(below), sorted(files)) for top, below, files in os.walk("a")] == [
        ("a", ["b"], ["file", "link"]),
        ("a/b", ["c"], ["file"]),
        ("a/b/c", [], []),
    ]
    assert sorted(map(str, pathlib.Path("a").rglob("file"))) == ["a/b/file", "a/file"]
    os.replace("a/b/file", "a/file")
    assert pathlib.Path("a/file").read_text() == "text"
    os.rename("a/b", "a/renamed")
    assert os.listdir("a/renamed") == ["c"]
    try:
        os.rmdir("a")
        raise AssertionError("removed a directory that is not empty")
    except OSError as error:
        assert error.errno == errno.ENOTEMPTY
    os.removedirs("a/renamed/c")
    assert not os.path.exists("a/renamed")
    pathlib.Path("größe ☃").write_text("snow")
    assert "größe ☃" in os.listdir(".")
    assert os.access("modes", os.R_OK | os.W_OK) and not os.path.exists("missing")


def attributes():
    path = pathlib.Path("attributes")
    path.write_bytes(b"x" * 1000)
    path.chmod(0o751)
    os.utime(path, (1_000_000_000, 1_234_567_890))
    os.chown(path, 1234, 5678)
    os.setxattr(path, "user.color", b"blue")
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_size, found.st_mtime, found.st_uid, found.st_gid) == (
        0o751,
        1000,
        1_234_567_890,
        1234,
        5678,
    ), found
    assert os.getxattr(path, "user.color") == b"blue" and os.listxattr(path) == ["user.color"]
    assert os.statvfs(path).f_bavail > 0


def copies():
    os.makedirs("tree/below")
    for number in range(20):
        pathlib.Path(f"tree/below/{number}").write_bytes(os.urandom(number * 1000))
    os.symlink("below/1", "tree/link")
    shutil.copytree("tree", "copied", symlinks=True)
    compared = filecmp.dircmp("tree/below", "copied/below")
    assert len(compared.same_files) == 20 and not compared.left_only and not compared.diff_files
    shutil.copy2("tree/below/19", "copied/19")
    assert abs(os.stat("copied/19").st_mtime - os.stat("tree/below/19").st_mtime) < 0.01
    shutil.move("copied", "moved")
    assert sorted(os.listdir("moved/below")) == sorted(map(str, range(20)))
    shutil.make_archive("archive", "gztar", "moved")
    with tarfile.open("archive.tar.gz") as archive:
        assert archive.extractfile("./below/19").read() == pathlib.Path("tree/below/19").read_bytes()
    shutil.rmtree("moved")
    assert not os.path.exists("moved")
    assert shutil.disk_usage(".").free > 0


def temporary_files():
    with tempfile.TemporaryDirectory(dir=".") as folder:
        with tempfile.NamedTemporaryFile(dir=folder) as named:
            named.write(b"named")
            named.flush()
            assert pathlib.Path(named.name).read_bytes() == b"named"
        with tempfile.TemporaryFile(dir=folder) as nameless:
            nameless.write(b"nameless" * 100_000)
            nameless.seek(-8, os.SEEK_END)
            assert nameless.read() == b"nameless"
        assert os.listdir(folder) == []
    assert not os.path.exists(folder)
    # As programs save what must never be seen half written.
    descriptor, name = tempfile.mkstemp(dir=".")
    with os.fdopen(descriptor, "w") as file:
        json.dump({"saved": True}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(name, "saved.json")
    assert json.loads(pathlib.Path("saved.json").read_text()) == {"saved": True}


def mapped():
    content = os.urandom(3 * 1024 * 1024 + 17)
    pathlib.Path("mapped").write_bytes(content)
    with open("mapped", "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            assert view[:] == content
            assert view.find(content[2_000_000:2_000_020]) == 2_000_000
    with open("mapped", "rb") as file:
        with mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as view:
            view[:3] = b"abc"
    assert pathlib.Path("mapped").read_bytes() == content
    with open("mapped", "r+b") as file:
        with mmap.mmap(file.fileno(), 0) as view:
            view[1_000_000:1_000_003] = b"abc"
            view.flush()
    assert pathlib.Path("mapped").read_bytes() == content[:1_000_000] + b"abc" + content[1_000_003:]


def archives():
    with zipfile.ZipFile("archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(50):
            archive.writestr(f"{number}.txt", str(number) * 10_000)
    with zipfile.ZipFile("archive.zip", "a") as archive:
        archive.writestr("more.txt", "more")
    with zipfile.ZipFile("archive.zip") as archive:
        assert archive.testzip() is None and len(archive.namelist()) == 51
        archive.extractall("extracted")
    assert pathlib.Path("extracted/49.txt").read_text() == "49" * 10_000
    with gzip.open("lines.gz", "wt") as file:
        file.writelines(f"{number}\n" for number in range(100_000))
    with gzip.open("lines.gz", "rt") as file:
        assert sum(int(line) for line in file) == 4_999_950_000


for exercise in [open_modes, descriptors, names, attributes, copies, temporary_files, mapped, archives]:
    exercise()
    print(exercise.__name__)
