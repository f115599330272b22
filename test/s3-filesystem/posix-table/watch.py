"""Plays steps in its working directory, and tells after each of them what stat(2) says of everything there and of what is open.

Read from the standard input: a list of [name, Python]. What the steps keep open is in `opened`, by names of their own.
"""

import errno, json, os, sys, time

opened = {}
# By number, of everything that was ever seen, so that the kernel forgets nothing and no number is given again.
held = {}


def described(status):
    return {
        "ino": str(status.st_ino),
        "mode": oct(status.st_mode),
        "nlink": status.st_nlink,
        "owner": "%d:%d" % (status.st_uid, status.st_gid),
        "size": status.st_size,
        "mtime": str(status.st_mtime_ns),
        "ctime": str(status.st_ctime_ns),
    }


def looked_at(path):
    status = os.lstat(path)
    if status.st_ino not in held:
        held[status.st_ino] = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    return described(status)


def watched():
    found = {".": looked_at(".")}
    for folder, folders, files in os.walk("."):
        # Where objects of removed files are that are open.
        folders[:] = sorted(set(folders) - {".fluid-fuse-unlinked"})
        for name in folders + sorted(files):
            path = os.path.join(folder, name)[2:]
            found[path] = looked_at(path)
    for name, descriptor in opened.items():
        found["open " + name] = described(os.fstat(descriptor))
    return found


def open_file(name, path, flags=0, mode=0o644):
    opened[name] = os.open(path, os.O_RDWR | os.O_CREAT | flags, mode)


def open_folder(name, path):
    opened[name] = os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def close(name):
    os.close(opened.pop(name))


def fails(code, action):
    try:
        action()
    except OSError as error:
        assert errno.errorcode[error.errno] == code, error
    else:
        raise AssertionError("succeeded")


os.umask(0o022)
told = [{"step": "nothing", "at": str(time.time_ns()), "seen": watched()}]
for name, step in json.load(sys.stdin):
    # No clock is so coarse that a change would not be seen.
    time.sleep(0.03)
    at = time.time_ns()
    exec(step)
    told.append({"step": name, "at": str(at), "seen": watched()})
for name in list(opened):
    close(name)
json.dump(told, sys.stdout)
