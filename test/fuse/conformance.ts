import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { bash, inNode } from "./application.ts";

export interface MountedFilesystem {
	readonly path: string;
	unmount(): Promise<unknown>;
}

/** What a filesystem is able to; what it is not must be refused, where the test says how. */
export interface Capabilities {
	readonly hardLinks: boolean;
	readonly symlinks: boolean;
	/** Modes and owners can be changed, and are checked. */
	readonly modes: boolean;
	readonly times: boolean;
	/** Each time can be set without the other, in microseconds and before 1970. */
	readonly exactTimes: boolean;
	/** New files belong to whoever created them. */
	readonly creatorsOwn: boolean;
	readonly xattrs: boolean;
	readonly pipes: boolean;
	/** Files larger than what is written to them. */
	readonly holes: boolean;
	/** Renames that do not replace, as `mv -n` does. */
	readonly renameNoReplace: boolean;
	readonly fallocate: boolean;
	/** O_DIRECT. */
	readonly directIo: boolean;
	/** A directory's time changes with what is in it. */
	readonly directoryTimes: boolean;
	/** A removed file that is open has no link. */
	readonly unlinkedHasNoLinks: boolean;
	/** Names that are not UTF-8 are refused. */
	readonly refusesOtherNames: boolean;
	/** A truncation by open takes set-ID bits as well; older kernels forget it. */
	readonly truncatesAtOpenLikeWrites: boolean;
}

export const everything: Capabilities = {
	hardLinks: true,
	symlinks: true,
	modes: true,
	times: true,
	exactTimes: true,
	creatorsOwn: true,
	xattrs: true,
	pipes: true,
	holes: true,
	renameNoReplace: true,
	fallocate: true,
	directIo: true,
	directoryTimes: true,
	unlinkedHasNoLinks: true,
	refusesOtherNames: true,
	truncatesAtOpenLikeWrites: true,
};

/** Tests what applications expect of a filesystem, with applications. */
export function testFilesystem(title: string, mount: () => Promise<MountedFilesystem>, able: Capabilities): void {
	describe(title, () => {
		let mounted: MountedFilesystem | undefined;
		let directory = "";
		let count = 0;

		beforeAll(async () => {
			mounted = await mount();
		});
		afterAll(async () => {
			await mounted?.unmount();
		});
		beforeEach(async () => {
			const root = mounted?.path ?? "";
			directory = join(root, `case-${++count}`);
			await bash(root, `mkdir case-${count}`);
		});

		describe("files", () => {
			test("hold what was written to them", async () => {
				const printed = await bash(
					directory,
					`echo one > f; echo two >> f; cat f
					printf X | dd of=f bs=1 seek=4 conv=notrunc status=none; cat f; stat -c %s f`,
				);
				expect(printed).toBe("one\ntwo\none\nXwo\n8\n");
			});

			test("are empty when only created", async () => {
				expect(await bash(directory, `touch f; stat -c '%s %F' f; cat f`)).toBe("0 regular empty file\n");
			});

			test("show at once to other processes what was written and not closed", async () => {
				const printed = await bash(directory, `exec 3> f; echo one >&3; cat f; echo two >&3; cat f; stat -c %s f`);
				expect(printed).toBe("one\none\ntwo\n8\n");
			});

			test("are not created over another one with O_EXCL", async () => {
				const codes = await inNode(directory, ({ fs, path, codeOf, directory }) => {
					const file = path.join(directory, "f");
					return [1, 2].map(() => codeOf(() => fs.closeSync(fs.openSync(file, "wx"))));
				});
				expect(codes).toEqual(["done", "EEXIST"]);
			});

			test("are emptied when they are opened with O_TRUNC", async () => {
				expect(await bash(directory, `echo content > f; : > f; stat -c %s f; echo new > f; cat f`)).toBe("0\nnew\n");
			});

			test("shrink, and grow with zeros", async () => {
				const printed = await bash(
					directory,
					`printf 0123456789 > f; truncate -s 4 f; cat f; echo
					truncate -s 8 f; od -An -c f; truncate -s 0 f; stat -c %s f`,
				);
				expect(printed).toBe("0123\n   0   1   2   3  \\0  \\0  \\0  \\0\n0\n");
			});

			test("are truncated through a descriptor", async () => {
				const content = await inNode(directory, ({ fs, path, directory }) => {
					const file = path.join(directory, "f");
					const fd = fs.openSync(file, "w+");
					fs.writeSync(fd, "0123456789");
					fs.ftruncateSync(fd, 5);
					fs.writeSync(fd, "ab", 2);
					const { size } = fs.fstatSync(fd);
					fs.closeSync(fd);
					return [size, fs.readFileSync(file, "utf8")];
				});
				expect(content).toEqual([5, "01ab4"]);
			});

			test("keep the lines of several that append at a time", async () => {
				const printed = await bash(
					directory,
					`for p in 1 2 3 4 5 6; do (for i in $(seq 50); do echo "line $p $i" >> f; done) & done; wait
					sort -u f | wc -l`,
				);
				expect(printed.trim()).toBe("300");
			});

			test("keep what several write to different places at a time", async () => {
				const printed = await bash(
					directory,
					`for p in 0 1 2 3; do (head -c 1000000 /dev/zero | tr '\\0' $p |
						dd of=f bs=100000 seek=$((p * 10)) conv=notrunc iflag=fullblock status=none) & done; wait
					stat -c %s f; for p in 0 1 2 3; do tr -cd $p < f | wc -c; done`,
				);
				expect(printed).toBe(`4000000\n${"1000000\n".repeat(4)}`);
			});

			test("of many MiB come back unchanged, from the kernel's cache and without it", async () => {
				const printed = await bash(
					directory,
					`head -c 67108864 /dev/urandom | tee f | sha256sum; sha256sum < f
					dd if=f iflag=nocache count=0 status=none; sha256sum < f
					dd if=f iflag=nocache count=0 status=none; dd if=f bs=12345 status=none | sha256sum`,
				);
				expect(new Set(printed.trim().split("\n")).size).toBe(1);
			});

			test("are read at any place", async () => {
				const wrong = await inNode(directory, ({ fs, path, directory }) => {
					const file = path.join(directory, "f");
					const content = Buffer.alloc(5_000_000);
					for (let at = 0; at < content.length; at += 4) content.writeUInt32LE(at, at);
					fs.writeFileSync(file, content);
					const fd = fs.openSync(file, "r");
					const failed = [];
					for (let round = 0; round < 500; round++) {
						const at = (round * 7_654_321) % content.length;
						const length = 1 + ((round * 12_347) % 70_000);
						const part = Buffer.alloc(length);
						const bytes = fs.readSync(fd, part, 0, length, at);
						if (!part.subarray(0, bytes).equals(content.subarray(at, at + length))) failed.push([at, length]);
					}
					return failed;
				});
				expect(wrong).toEqual([]);
			});

			test.skipIf(!able.holes)("hold zeros where nothing was written, also far out", async () => {
				const printed = await bash(
					directory,
					`printf end | dd of=f bs=1M seek=5000 conv=notrunc status=none; stat -c %s f
					dd if=f bs=1M skip=4999 count=1 status=none | tr -d '\\0' | wc -c
					tail -c 3 f; echo; truncate -s 6G f; stat -c %s f; tail -c 5 f | od -An -c`,
				);
				expect(printed).toBe(`${5000 * 1024 ** 2 + 3}\n0\nend\n${6 * 1024 ** 3}\n  \\0  \\0  \\0  \\0  \\0\n`);
			});

			test("stay readable and writable when they are removed while open", async () => {
				const result = await inNode(directory, ({ fs, path, codeOf, directory }) => {
					const file = path.join(directory, "f");
					fs.writeFileSync(file, "before");
					const fd = fs.openSync(file, "r+");
					fs.unlinkSync(file);
					fs.writeSync(fd, " after", 6);
					const content = Buffer.alloc(100);
					const bytes = fs.readSync(fd, content, 0, 100, 0);
					const { size, nlink } = fs.fstatSync(fd);
					fs.closeSync(fd);
					const code = codeOf(() => fs.statSync(file));
					return { content: content.toString("utf8", 0, bytes), size, nlink, code, names: fs.readdirSync(directory) };
				});
				expect(result).toEqual({
					content: "before after",
					size: 12,
					nlink: able.unlinkedHasNoLinks ? 0 : 1,
					code: "ENOENT",
					names: [],
				});
			});

			test("that are open keep their content when another one takes their name", async () => {
				const result = await inNode(directory, ({ fs, path, directory }) => {
					const [file, other] = ["f", "other"].map((name) => path.join(directory, name)) as [string, string];
					fs.writeFileSync(file, "old");
					fs.writeFileSync(other, "new content");
					const fd = fs.openSync(file, "r");
					fs.renameSync(other, file);
					const old = fs.readFileSync(fd, "utf8");
					fs.closeSync(fd);
					return [old, fs.readFileSync(file, "utf8"), fs.readdirSync(directory)];
				});
				expect(result).toEqual(["old", "new content", ["f"]]);
			});

			test("that are open are written to under their new name", async () => {
				const printed = await bash(directory, `exec 3> f; echo one >&3; mv f g; echo two >&3; exec 3>&-; cat g; ls`);
				expect(printed).toBe("one\ntwo\ng\n");
			});

			test("are fine with fsync, fdatasync and sync of the directory", async () => {
				const printed = await bash(
					directory,
					`dd if=/dev/zero of=f bs=1000 count=3 conv=fsync status=none
					dd if=/dev/zero of=g bs=1000 count=3 conv=fdatasync status=none; sync f .; stat -c %s f g`,
				);
				expect(printed).toBe("3000\n3000\n");
			});

			test.skipIf(!able.directIo)("are read and written with O_DIRECT", async () => {
				const printed = await bash(
					directory,
					`head -c 4194304 /dev/urandom > /tmp/direct.$$; trap 'rm /tmp/direct.$$' EXIT
					dd if=/tmp/direct.$$ of=f bs=1M oflag=direct status=none; cmp f /tmp/direct.$$
					dd if=f bs=64k iflag=direct status=none | cmp - /tmp/direct.$$; stat -c %s f`,
				);
				expect(printed).toBe("4194304\n");
			});

			test.skipIf(!able.fallocate)("are allocated ahead", async () => {
				expect(await bash(directory, `fallocate -l 100000 f; stat -c %s f; tr -d '\\0' < f | wc -c`)).toBe(
					"100000\n0\n",
				);
			});

			test("are mapped into memory: a program runs from there", async () => {
				const printed = await bash(directory, `cp "$(command -v expr)" program; chmod +x program; ./program 6 '*' 7`);
				expect(printed).toBe("42\n");
			});

			test("are locked against another process with flock", async () => {
				const printed = await bash(
					directory,
					`touch f; exec 3< f; flock -n 3; flock -n f true && echo both || echo one
					flock -u 3; flock -n f true && echo free`,
				);
				expect(printed).toBe("one\nfree\n");
			});
		});

		describe("names", () => {
			test("that do not exist are told so, and exist as soon as they are created", async () => {
				const printed = await bash(
					directory,
					`for i in 1 2; do cat f 2>/dev/null || echo none; done; echo x > f; cat f`,
				);
				expect(printed).toBe("none\nnone\nx\n");
			});

			test("may hold every character but the slash", async () => {
				const names = [
					" ",
					"a b",
					"-r",
					"*",
					"quo\"te'",
					"new\nline",
					"back\\slash",
					"ü",
					"😀",
					"a".repeat(255),
					"é".repeat(127),
					".x",
					"x.",
					"~",
					"%2F",
					"A",
					"a",
				];
				const seen = await inNodeWith(directory, names, ({ fs, path, directory }, names) => {
					for (const name of names) fs.writeFileSync(path.join(directory, name), name);
					for (const name of names) {
						if (fs.readFileSync(path.join(directory, name), "utf8") !== name) return `wrong content of ${name}`;
					}
					return fs.readdirSync(directory);
				});
				expect(new Set(seen)).toEqual(new Set(names));
			});

			test("of more than 255 bytes are too long", async () => {
				const codes = await inNode(directory, ({ fs, path, codeOf, directory }) =>
					["a".repeat(256), "é".repeat(128)].map((name) => [
						codeOf(() => fs.writeFileSync(path.join(directory, name), "")),
						codeOf(() => fs.mkdirSync(path.join(directory, name))),
						codeOf(() => fs.statSync(path.join(directory, name))),
					]),
				);
				expect(codes.flat()).toEqual(Array.from({ length: 6 }, () => "ENAMETOOLONG"));
			});

			test.skipIf(!able.refusesOtherNames)("that are not UTF-8 do not exist and cannot be created", async () => {
				const codes = await inNode(directory, ({ fs, codeOf, directory }) => {
					const name = Buffer.concat([Buffer.from(`${directory}/bad`), Buffer.from([0xff, 0xc0])]);
					return [
						codeOf(() => fs.statSync(name)),
						codeOf(() => fs.closeSync(fs.openSync(name, "w"))),
						codeOf(() => fs.mkdirSync(name)),
						fs.readdirSync(directory).length,
					];
				});
				expect(codes).toEqual(["ENOENT", "EILSEQ", "EILSEQ", 0]);
			});
		});

		describe("directories", () => {
			test("are made and removed, not over another name and not while full", async () => {
				const codes = await inNode(directory, ({ fs, path, codeOf, directory }) => {
					const at = (name: string): string => path.join(directory, name);
					return [
						codeOf(() => fs.mkdirSync(at("d"))),
						codeOf(() => fs.mkdirSync(at("d"))),
						codeOf(() => fs.writeFileSync(at("d/f"), "x")),
						codeOf(() => fs.rmdirSync(at("d"))),
						codeOf(() => fs.unlinkSync(at("d/f"))),
						codeOf(() => fs.rmdirSync(at("d"))),
						codeOf(() => fs.rmdirSync(at("d"))),
						codeOf(() => fs.mkdirSync(at("missing/d"))),
						codeOf(() => fs.writeFileSync(at("f"), "x")),
						codeOf(() => fs.mkdirSync(at("f"))),
						codeOf(() => fs.mkdirSync(at("f/d"))),
						codeOf(() => fs.rmdirSync(at("f"))),
						codeOf(() => fs.readdirSync(at("f"))),
						codeOf(() => fs.readFileSync(directory)),
						codeOf(() => fs.openSync(directory, "w")),
					];
				});
				expect(codes).toEqual([
					"done",
					"EEXIST",
					"done",
					"ENOTEMPTY",
					"done",
					"done",
					"ENOENT",
					"ENOENT",
					"done",
					"EEXIST",
					"ENOTDIR",
					"ENOTDIR",
					"ENOTDIR",
					"EISDIR",
					"EISDIR",
				]);
			});

			test("are not removed by unlink", async () => {
				const code = await inNode(directory, ({ fs, path, codeOf, directory }) => {
					fs.mkdirSync(path.join(directory, "d"));
					return codeOf(() => fs.unlinkSync(path.join(directory, "d")));
				});
				expect(code).toBe("EISDIR");
			});

			test("of 5000 files list each once, with attributes and without", async () => {
				const printed = await bash(
					directory,
					`seq 5000 | xargs touch; ls -f | sed '/^\\.\\.*$/d' | wc -l; ls -l | tail -n +2 | wc -l; ls -U | sort -u | wc -l
					find . -type f | sort -u | wc -l`,
				);
				expect(printed).toBe("5000\n5000\n5000\n5000\n");
			});

			test("list what was created while they were not looked at", async () => {
				expect(await bash(directory, `touch a; ls; touch b; ls; rm a; ls; mv b c; ls`)).toBe("a\na\nb\nb\nc\n");
			});

			test("of 2000 files and a few folders are deleted in one go", async () => {
				const printed = await bash(
					directory,
					`mkdir -p d/e/f d/g; (cd d; seq 2000 | xargs touch; touch e/1 e/f/2 g/3); rm -rf d; ls -A | wc -l`,
				);
				expect(printed.trim()).toBe("0");
			});

			test("are copied with everything in them", async () => {
				const printed = await bash(
					directory,
					`mkdir -p d/e/f; for i in $(seq 40); do head -c $((i * 997)) /dev/urandom > d/e/$i; done; echo x > d/e/f/x
					cp -r d copy; diff -r d copy; tar cf - d | (mkdir t; tar xf - -C t --no-same-owner); diff -r d t/d; echo same`,
				);
				expect(printed).toBe("same\n");
			});

			test.skipIf(!able.directoryTimes)("show when what is in them changed", async () => {
				const printed = await bash(
					directory,
					`mkdir d; touch -d @1000 d; stat -c %Y d; touch d/f; test $(stat -c %Y d) -gt 1000
					touch -d @1000 d; mv d/f d/g; test $(stat -c %Y d) -gt 1000; touch -d @1000 d; rm d/g; test $(stat -c %Y d) -gt 1000`,
				);
				expect(printed).toBe("1000\n");
			});
		});

		describe("rename", () => {
			test("moves a file, over another one too", async () => {
				const printed = await bash(
					directory,
					`echo a > a; echo b > b; mkdir d; mv a b; cat b; mv b d/c; cat d/c; ls -R`,
				);
				expect(printed).toBe("a\na\n.:\nd\n\n./d:\nc\n");
			});

			test("moves a directory with everything in it", async () => {
				const printed = await bash(
					directory,
					`mkdir -p d/e other; echo x > d/e/f; mv d moved; cat moved/e/f; mv moved other/; cat other/moved/e/f
					test ! -e d; test ! -e moved; find . | sort`,
				);
				expect(printed).toBe("x\nx\n.\n./other\n./other/moved\n./other/moved/e\n./other/moved/e/f\n");
			});

			test("keeps its rules", async () => {
				const codes = await inNode(directory, ({ fs, path, codeOf, directory }) => {
					const at = (name: string): string => path.join(directory, name);
					for (const name of ["empty", "empty2", "full", "full/sub"]) fs.mkdirSync(at(name));
					for (const name of ["f", "g", "full/f"]) fs.writeFileSync(at(name), name);
					const rename = (from: string, to: string): string => codeOf(() => fs.renameSync(at(from), at(to)));
					return [
						rename("missing", "x"),
						rename("f", "f"),
						rename("f", "empty"),
						rename("empty", "f"),
						rename("empty", "full"),
						rename("full", "full/sub/x"),
						rename("f", "missing/f"),
						rename("empty", "empty2"),
						rename("full", "empty2"),
						fs.readdirSync(directory).toSorted(),
						fs.readdirSync(at("empty2")).toSorted(),
					];
				});
				expect(codes).toEqual([
					"ENOENT",
					"done",
					"EISDIR",
					"ENOTDIR",
					"ENOTEMPTY",
					"EINVAL",
					"ENOENT",
					"done",
					"done",
					["empty2", "f", "g"],
					["f", "sub"],
				]);
			});

			test.skipIf(!able.renameNoReplace)("does not replace when it must not", async () => {
				expect(await bash(directory, `echo a > a; echo b > b; mv -n a b || true; cat a b; mv -n a c; cat c`)).toBe(
					"a\nb\na\n",
				);
			});
		});

		describe("links", () => {
			test.skipIf(!able.symlinks)("are followed, also out of the mount, and may lead nowhere", async () => {
				const printed = await bash(
					directory,
					`echo x > f; mkdir d; ln -s f l; ln -s ../f d/l; ln -s nowhere n; ln -s /etc/hostname h; ln -s loop loop
					cat l d/l; readlink l d/l n; test -L n; test ! -e n; cmp h /etc/hostname; stat -c %F l; stat -c %s n
					(cat loop 2>&1 || true) | grep -c 'levels of symbolic'; rm l n; cat f; echo y > d/l; cat f`,
				);
				expect(printed).toBe("x\nx\nf\n../f\nnowhere\nsymbolic link\n7\n1\nx\ny\n");
			});

			test.skipIf(!able.symlinks)("may be long", async () => {
				const length = await inNode(directory, ({ fs, path, directory }) => {
					const target = "é/".repeat(1300);
					fs.symlinkSync(target, path.join(directory, "l"));
					return fs.readlinkSync(path.join(directory, "l")) === target;
				});
				expect(length).toBe(true);
			});

			test(able.hardLinks ? "share a file" : "that are hard are refused", async () => {
				const result = await inNode(directory, ({ fs, path, codeOf, directory }) => {
					const [file, link] = ["f", "l"].map((name) => path.join(directory, name)) as [string, string];
					fs.writeFileSync(file, "x");
					return [codeOf(() => fs.linkSync(file, link)), fs.existsSync(link), fs.statSync(file).nlink];
				});
				expect(result).toEqual(able.hardLinks ? ["done", true, 2] : ["EPERM", false, 1]);
			});

			test.skipIf(!able.pipes)("to pipes work", async () => {
				expect(await bash(directory, `mkfifo p; stat -c %F p; (echo through > p) & cat p; wait`)).toBe(
					"fifo\nthrough\n",
				);
			});
		});

		describe("attributes", () => {
			test.skipIf(!able.times)("show the times that were set, of files and directories", async () => {
				const printed = await bash(
					directory,
					`touch -d @1234567890.5 f; stat -c '%.3X %.3Y' f; touch -d 2200-01-01T00:00:00Z f; stat -c %Y f
					mkdir d; touch -d @77 d; stat -c %Y d; touch -d @1700000000.5 f; touch -r f g; test ! f -nt g; test ! g -nt f`,
				);
				expect(printed).toBe("1234567890.500 1234567890.500\n7258118400\n77\n");
			});

			test.skipIf(!able.times)("keep the time of access and that of change apart", async () => {
				const printed = await bash(
					directory,
					`touch f; python3 -c 'import os; os.utime("f", (1000000000.25, 1234567890.5))'; stat -c '%.2X %.2Y' f
					cp -p f g; test ! f -nt g; test ! g -nt f; stat -c %.2Y g`,
				);
				expect(printed).toBe("1000000000.25 1234567890.50\n1234567890.50\n");
			});

			test.skipIf(!able.exactTimes)("show each time as it was set, also long ago", async () => {
				const printed = await bash(
					directory,
					`touch f; touch -m -d @1234567890.123456 f; stat -c %.6Y f; touch -a -d @1000000000.000001 f; stat -c '%.6X %.6Y' f
					touch -d 1960-01-01T00:00:00.25Z f; stat -c %.2Y f; touch -r f g; test ! f -nt g; test ! g -nt f`,
				);
				expect(printed).toBe("1234567890.123456\n1000000000.000001 1234567890.123456\n-315619199.75\n");
			});

			test("show when a file was written", async () => {
				const printed = await bash(
					directory,
					`before=$(date +%s); echo x > f; m=$(stat -c %Y f); test $m -ge $((before - 2)); test $m -le $(($(date +%s) + 2))
					sleep 1.1; echo y >> f; test $(stat -c %Y f) -ge $m; sleep 1.1; n=$(stat -c %Y f); cat f >/dev/null; test $(stat -c %Y f) -eq $n`,
				);
				expect(printed).toBe("");
			});

			test.skipIf(!able.modes)("show modes and owners that were set, and new ones after the umask", async () => {
				const printed = await bash(
					directory,
					`umask 027; touch f; mkdir d; stat -c %a f d; chmod 604 f; chmod 1711 d; stat -c %a f d; chown 12:34 f; stat -c '%u %g %a' f
					chmod 4755 f; stat -c %a f`,
				);
				expect(printed).toBe("640\n750\n604\n1711\n12 34 604\n4755\n");
			});

			test.skipIf(!able.modes)(
				"lose their set-ID bits when they are written or get another owner, unless root writes",
				async () => {
					const printed = await bash(
						directory,
						`as() { setpriv --reuid 65534 --regid 65534 --clear-groups sh -c "$1"; }
					chmod 755 .; show() { stat -c %a f; chmod 6755 f; }
					echo x >f; chown 65534:65534 f; chmod 6755 f; echo y >>f; show; as 'echo y >>f'; show; as 'truncate -s 1 f'; show
					chown 65534:1 f; show; chmod 6745 f; as 'echo y >>f'; show`,
					);
					expect(printed).toBe("6755\n755\n755\n755\n2745\n");
					const opened = `chmod 6755 f; setpriv --reuid 65534 --clear-groups sh -c ': >f'; stat -c %a f`;
					expect(await bash(directory, opened)).toBe(able.truncatesAtOpenLikeWrites ? "755\n" : "6755\n");
				},
			);

			test.skipIf(!able.modes)("keep other users out", async () => {
				const printed = await bash(
					directory,
					`as() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@" 2>/dev/null || echo refused; }
					echo x > f; chmod 600 f; chmod 755 .; as cat f; chmod 644 f; as cat f; as touch g; as rm -f f`,
				);
				expect(printed).toBe("refused\nx\nrefused\nrefused\n");
			});

			test.skipIf(!able.modes || !able.creatorsOwn)("belong to who creates a file or directory", async () => {
				const printed = await bash(
					directory,
					`chmod 777 .; setpriv --reuid 65534 --regid 65534 --clear-groups sh -c 'touch f; mkdir d'; stat -c '%u %g' f d`,
				);
				expect(printed).toBe("65534 65534\n65534 65534\n");
			});

			const noXattrs = !able.xattrs ? "" : hasProgram("setfattr") ? undefined : " (skipped: no setfattr here)";
			test.skipIf(noXattrs !== undefined)(`hold further ones of the application${noXattrs ?? ""}`, async () => {
				const printed = await bash(
					directory,
					`touch f; mkdir d; setfattr -n user.a -v one f; setfattr -n user.b -v '' f; setfattr -n user.a -v two d
					getfattr --only-values -n user.a f; echo; getfattr -d f | grep -c user; setfattr -x user.a f
					getfattr -n user.a f 2>/dev/null || echo gone; getfattr --only-values -n user.a d
					head -c 3000 /dev/zero | tr '\\0' v > value; setfattr -n user.long -v "$(cat value)" f; getfattr --only-values -n user.long f | cmp - value`,
				);
				expect(printed).toBe("one\n2\ngone\ntwo");
			});

			test("of the filesystem are shown", async () => {
				const [size, blocks, free, length] = (await bash(directory, `stat -f -c '%S %b %f %l' .`))
					.trim()
					.split(" ")
					.map(Number);
				expect(size).toBeGreaterThan(0);
				expect(blocks).toBeGreaterThan(0);
				expect(free).toBeLessThanOrEqual(blocks ?? 0);
				expect(length).toBe(255);
			});
		});
	});
}

/** As inNode, with something given that JSON can hold. */
async function inNodeWith<G, T>(
	directory: string,
	given: G,
	action: (tools: Parameters<Parameters<typeof inNode>[1]>[0], given: G) => T,
): Promise<T> {
	const text = `(tools) => (${action.toString()})(tools, ${JSON.stringify(given)})`;
	return inNode<T>(directory, { toString: () => text } as unknown as () => T);
}

function hasProgram(name: string): boolean {
	return (process.env["PATH"] ?? "").split(":").some((folder) => {
		try {
			accessSync(join(folder, name), constants.X_OK);
			return true;
		} catch {
			return false;
		}
	});
}
