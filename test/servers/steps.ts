import { existsSync, writeFileSync } from "node:fs";
import { bash } from "../fuse/application.ts";
import { until } from "../support/pod.ts";

/** Where a step is done: in a mount, and in a plain folder, which shows what it must come to. */
export interface Place {
	/** The step's own folder. */
	readonly folder: string;
	/** Files to copy from, on no mount: `small`, `large`, `tree/`, `repository/`. */
	readonly sources: string;
	/** Not the mount. */
	readonly isPlain: boolean;
	/** What another client of the server does; in the plain folder, the same by hand. */
	put(path: string, body: string): Promise<void>;
	remove(path: string): Promise<void>;
	/** Runs a script in the folder; `$S` are the sources. Returns what it prints. */
	bash(script: string): Promise<string>;
}

export interface Step {
	readonly name: string;
	/** It tells most in the least time: done at every change on the servers that are. */
	readonly tells?: true;
	/** Modes, times and links are compared as well. */
	readonly attributes?: true;
	/** Thousands of requests, for which some servers take their time. */
	readonly long?: true;
	/** What no two runs leave alike. */
	readonly notCompared?: string;
	run(place: Place): Promise<unknown>;
}

export const stepLimitMs = 150_000;
/** Swift takes 50 ms of its processor for each request. */
export const longStepLimitMs = 600_000;

export async function bashIn(
	{ folder, sources }: Pick<Place, "folder" | "sources">,
	script: string,
	limitMs = stepLimitMs,
): Promise<string> {
	return bash(folder, `S=${sources}; ${script}`, limitMs);
}

/** Makes the files that steps copy from. */
export async function makeSources(folder: string): Promise<void> {
	const git = "git -c user.name=a -c user.email=a@example.com -c commit.gpgsign=false";
	await bash(
		folder,
		`noise() { openssl enc -aes-128-ctr -K 0$1 -iv 0 -nosalt </dev/zero 2>/dev/null | head -c $2 || true; }
		set +o pipefail
		noise 1 1000 >small; noise 2 14M >large; noise 3 14M >other; : >empty
		mkdir -p tree/deep/er tree/void; for i in $(seq 1 12); do noise 4$i $((i * 1777)) >tree/deep/file-$i; done
		noise 5 12M >tree/big; cp small tree/deep/er/run; chmod 750 tree/deep/er/run; ln -s deep/er/run tree/link
		touch -d 2001-02-03T04:05:06 tree/deep/file-7; chmod 700 tree/void; touch -d 2011-11-11 tree/void
		git init -q -b main repository; cd repository; cp -r ../tree/deep .; ${git} add .; ${git} commit -qm one
		echo more >deep/file-1; ${git} commit -qam two`,
	);
}

const script = (text: string) => async (place: Place) => place.bash(text);

/** Each of these names is one file. */
const oddNames: readonly string[] = [
	..." !\"#$%&'()*+,;<=>?@[]^`{|}~:".split("").map((sign) => `a${sign}b`),
	" before",
	"after ",
	".hidden",
	"dot.",
	"...",
	"-rf",
	"%41",
	"%2F",
	"a&amp;b",
	"ü",
	"u\u0308",
	"中文",
	"😀",
];

/** Writes files of these names that hold their names. */
const named = (names: readonly string[]) => async (place: Place) => {
	const list = names.map(
		(name) => `$'${[...Buffer.from(name)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}'`,
	);
	await place.bash(`bad=; for n in ${list.join(" ")}; do printf %s "$n" | cp /dev/stdin "./$n" 2>/dev/null || bad+="$(printf %q "\${n:0:9}") "; done
		if test -n "$bad"; then echo "cannot be written: $bad" >&2; exit 1; fi`);
};

/** Opened with O_EXCL while there is no such file; another client makes one before the close, which must say that it failed. */
async function createdMeanwhile(place: Place, kilobytes: number): Promise<void> {
	if (place.isPlain) return place.put("theirs", "theirs\n");
	const program = `
import os, sys, time
descriptor = os.open("theirs", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
for _ in range(${kilobytes}): os.write(descriptor, b"m" * 1000)
open(sys.argv[1] + ".opened", "w").close()
while not os.path.exists(sys.argv[1] + ".put"): time.sleep(0.05)
try: os.close(descriptor)
except OSError: sys.exit(0)
sys.exit("close said that it was created, and another client's object was there")`;
	// In a folder of its own for each mount.
	const signal = `${place.sources}/../meanwhile-${kilobytes}`;
	writeFileSync(`${signal}.py`, program);
	const creating = place.bash(`python3 ${signal}.py ${signal}`);
	creating.catch(() => undefined);
	await Promise.race([
		// Fails when it cannot even be opened.
		creating,
		until(
			() => existsSync(`${signal}.opened`),
			stepLimitMs,
			() => "it was not opened",
		),
	]);
	await place.put("theirs", "theirs\n");
	writeFileSync(`${signal}.put`, "");
	await creating;
}

/** In their order; each in a folder of its own. */
export const steps: readonly Step[] = [
	{ name: "create a small file", tells: true, run: script("cp $S/small small; : >empty") },
	{ name: "create a file of several parts", tells: true, run: script("cp $S/large large") },
	{ name: "overwrite", run: script("cp $S/small f; cp $S/large f; cp $S/large g; cp $S/small g") },
	{ name: "append to a small file", run: script("cp $S/small f; echo more >>f; echo again >>f") },
	{ name: "append to a large file", tells: true, run: script("cp $S/large f; cat $S/small >>f") },
	{
		name: "write in the middle of a large file",
		tells: true,
		run: script("cp $S/large f; dd if=$S/small of=f bs=1000 seek=7000 conv=notrunc status=none"),
	},
	{
		name: "truncate, down and up",
		run: script("cp $S/large f; truncate -s 9M f; cp $S/large g; truncate -s 15M g; cp $S/small h; truncate -s 10 h"),
	},
	{
		name: "fsync, twice",
		tells: true,
		run: script(
			`exec 7>f; cat $S/large >&7; sync f; cat $S/small >&7; sync f; exec 7>&-
			dd if=$S/large of=g bs=1M conv=fsync status=none`,
		),
	},
	{ name: "`cp -p`", tells: true, attributes: true, run: script("cp -p $S/tree/deep/file-7 .; cp -p $S/tree/big .") },
	{
		name: "`rsync -a`, twice",
		tells: true,
		attributes: true,
		run: script("rsync -a $S/tree .; rsync -a $S/tree .; test -z \"$(rsync -ai $S/tree . | grep '^>f' || true)\""),
	},
	{ name: "`tar`", attributes: true, run: script("tar -C $S -c tree | tar -x") },
	{
		name: "`sqlite3`",
		run: script(
			"sqlite3 -bail d 'CREATE TABLE t (a); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)'; sqlite3 d 'PRAGMA integrity_check' | grep -q ok",
		),
	},
	{
		name: "`git clone` and `fsck`",
		notCompared: "index",
		run: script(
			"git clone -q --no-local $S/repository cloned; git -C cloned fsck --full --strict; rm -rf cloned/.git/logs",
		),
	},
	{ name: "rename a file", tells: true, run: script("cp $S/small a; mv a b; cp $S/small c; cp $S/large d; mv -f c d") },
	{ name: "rename a file of several parts", tells: true, run: script("cp $S/large a; mv a b; cat $S/small >>b") },
	{
		name: "rename a directory",
		tells: true,
		run: script("cp -r $S/tree a; mkdir -p a/1/2/3/4/5; mv a b; test ! -e a; cp $S/small b/1/2/3/4/5/f"),
	},
	{
		name: "rename a directory of 2,500 files",
		long: true,
		run: script(
			"mkdir a; seq 2500 | xargs -P 16 -n 50 sh -c 'for i; do echo $i >a/f$i; done' make; mv a b; test $(ls b | wc -l) = 2500",
		),
	},
	{ name: "`rm -rf`", tells: true, run: script("cp -r $S/tree a; mkdir -p a/1/2/3; rm -rf a; echo left >f") },
	{
		name: "make and remove directories",
		tells: true,
		run: script("mkdir -p a/b c; rmdir a/b; echo x >c/f; if rmdir c 2>/dev/null; then exit 1; fi; mkdir d; rmdir d"),
	},
	{
		name: "symbolic links",
		attributes: true,
		run: script(
			"ln -s target a; ln -s ../x/ü b; cp $S/small target; touch -d 2010-10-10 target; touch -h -d 2010-10-10 a b",
		),
	},
	{
		name: "modes and times",
		tells: true,
		attributes: true,
		run: script(
			`cp $S/small a; chmod 640 a; touch -d 2003-04-05T06:07:08 a; cp $S/large b; chmod 600 b; touch -d 1999-09-09 b`,
		),
	},
	{
		name: "modes and times of directories",
		attributes: true,
		run: script("mkdir d; chmod 711 d; touch -d 2012-12-12 d"),
	},
	{
		name: "extended attributes",
		run: script(
			`cp $S/small a; setfattr -n user.note -v "$(head -c 200 /dev/zero | tr '\\0' v)" a
			setfattr -n user.other -v ü a; test "$(getfattr --only-values -n user.other a)" = ü`,
		),
	},
	{
		name: "an extended attribute of 1,000 bytes",
		run: script(
			`cp $S/small a; v=$(head -c 1000 /dev/zero | tr '\\0' v); setfattr -n user.note -v "$v" a
			test "$(getfattr --only-values -n user.note a)" = "$v"`,
		),
	},
	{
		name: "do not create what another has created meanwhile",
		tells: true,
		run: async (place) => createdMeanwhile(place, 1),
	},
	{
		name: "do not create what another has created meanwhile, a file of several parts",
		run: async (place) => createdMeanwhile(place, 14_000),
	},
	{
		name: "see what another client changes",
		async run(place) {
			await place.bash("echo old >f");
			await place.put("f", "new, and longer\n");
			await place.put("g", "another\n");
		},
	},
	{
		name: "see what another client deletes",
		async run(place) {
			await place.bash("echo old >f; echo old >g");
			await place.remove("f");
		},
	},
	{ name: "odd names", tells: true, run: named(oddNames) },
	{ name: "a name with a backslash", run: named(["a\\b"]) },
	{ name: "names with control characters", run: named(["a\tb", "a\nb", "a\u0001b"]) },
	{ name: "a name of 255 bytes", run: named(["n".repeat(255)]) },
	{
		name: "list across pages",
		long: true,
		run: script("mkdir n; seq 1100 | xargs -P 16 -n 50 sh -c 'for i; do echo $i >n/f$i; done' make"),
	},
];
