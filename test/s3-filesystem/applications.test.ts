import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bash } from "../fuse/application.ts";
import { projectRoot } from "../support/pod.ts";
import { useBuckets } from "./buckets.ts";

const programs = join(import.meta.dirname, "applications");

const buckets = useBuckets("applications");
/** Not on a mount: what applications bring along, and what their results are compared with. */
let elsewhere: string;

beforeEach(async () => {
	elsewhere = await mkdtemp(join(tmpdir(), "fluid-fuse-elsewhere-"));
});
afterEach(async () => {
	await rm(elsewhere, { recursive: true, force: true });
});

/** A folder with files of several sizes, a symbolic link, modes, old times and an empty folder. */
async function makeTree(folder: string): Promise<void> {
	await bash(
		folder,
		`mkdir -p tree/deep/er tree/empty; cd tree
		for i in $(seq 1 40); do head -c $((i * 1777)) /dev/urandom >deep/file-$i; done
		head -c 12M /dev/urandom >big; : >nothing; echo '#!/bin/sh' >deep/er/run; chmod 750 deep/er/run
		ln -s deep/er/run link; touch -d 2001-02-03T04:05:06 deep/file-7; chmod 700 empty; touch -d 2011-11-11 empty deep`,
	);
}

describe("fio", () => {
	// Each block that is read must be the one that was written last.
	const fio = "fio --output=/dev/null --verify=crc32c --verify_fatal=1 --fallocate=none";

	test("reads back what it wrote from start to end", async () => {
		const here = await buckets.mount();
		expect(await bash(here.target, `${fio} --name=sequential --rw=write --bs=128k --size=64m --end_fsync=1`)).toBe("");
	});

	test("reads back what it wrote in random order, while it is written and from the bucket", async () => {
		const here = await buckets.mount();
		expect(await bash(here.target, `${fio} --name=random --rw=randwrite --bs=4k --size=6m --randseed=1`)).toBe("");
		expect(await bash(here.target, `${fio} --name=mixed --rw=randrw --bs=4k-64k --size=12m --fsync=200`)).toBe("");
		const again = await buckets.mount();
		expect(
			await bash(again.target, `${fio} --name=random --rw=randwrite --bs=4k --size=6m --randseed=1 --verify_only`),
		).toBe("");
	});

	test("reads through memory maps what it wrote", async () => {
		const here = await buckets.mount();
		const job = `${fio} --name=mapped --rw=write --bs=64k --size=32m`;
		expect(await bash(here.target, job)).toBe("");
		const again = await buckets.mount();
		expect(await bash(again.target, `${job} --ioengine=mmap --verify_only`)).toBe("");
		expect(
			await bash(
				again.target,
				`fio --output=/dev/null --name=mapped --rw=randread --bs=4k --size=32m --ioengine=mmap --io_size=2m`,
			),
		).toBe("");
	});
});

describe("git", () => {
	const environment = `export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com
		export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com`;

	test("clones, commits, packs and checks a repository, also from the next mount", { timeout: 120_000 }, async () => {
		await bash(
			elsewhere,
			`${environment}; cp -r ${join(projectRoot, "src")} source; cd source; git init -q -b main
			git add .; git commit -qm one; for i in 1 2 3; do echo $i >>main.ts; git commit -qam "change $i"; done`,
		);
		const here = await buckets.mount();
		await bash(
			here.target,
			`${environment}; git clone -q --no-local ${elsewhere}/source cloned; cd cloned
			echo more >>main.ts; git mv log.ts renamed.ts; git rm -qr s3; git commit -qam two
			git checkout -q -b branch HEAD~2; git merge -q main; git stash -q || true
			git gc -q --prune=now; git fsck --full --strict; test -z "$(git status --porcelain)"`,
		);
		const again = await buckets.mount();
		const printed = await bash(
			again.target,
			`${environment}; cd cloned; git fsck --full --strict; git status --porcelain; git log --oneline | wc -l
			git clone -q --no-local . ${elsewhere}/back; diff -r --exclude=.git . ${elsewhere}/back`,
		);
		expect(printed.trim()).toBe("5");
	});
});

test("a Node project is checked and built inside the mount, and runs from there", { timeout: 120_000 }, async () => {
	const here = await buckets.mount();
	const printed = await bash(
		here.target,
		`mkdir project; cd project; cp -r ${projectRoot}/{src,bin,package.json,tsconfig.json,rolldown.config.ts} .
		ln -s ${projectRoot}/node_modules node_modules; PATH=$PWD/node_modules/.bin:$PATH
		tsc -p .; rolldown -c >/dev/null; node dist/fluid-fuse.js --version`,
		110_000,
	);
	expect(printed).toMatch(/\d+\.\d+\.\d+/);
});

describe("sqlite3", () => {
	const fill = `
		CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX i ON t (text);
		BEGIN; WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
			INSERT INTO t SELECT i, hex(i * i) FROM n; COMMIT;
		BEGIN; UPDATE t SET text = text || 'x' WHERE id % 3 = 0; DELETE FROM t WHERE id % 7 = 0; COMMIT;
		BEGIN; DELETE FROM t; ROLLBACK;`;

	test.each(["DELETE", "TRUNCATE", "PERSIST"])("keeps its database with a journal of mode %s", async (mode) => {
		const here = await buckets.mount();
		await bash(here.target, `sqlite3 -bail data.db "PRAGMA journal_mode = ${mode}; ${fill} VACUUM;"`);
		const sum = `sqlite3 data.db "PRAGMA integrity_check; SELECT count(*), sum(length(text)) FROM t"`;
		const found = await bash(here.target, sum);
		expect(found).toMatch(/^ok\n17143\|/);
		await here.unmount();
		const again = await buckets.mount();
		expect(await bash(again.target, sum)).toBe(found);
		await bash(again.target, `sqlite3 -bail data.db "BEGIN; INSERT INTO t (text) VALUES ('new'); COMMIT"`);
		expect(await bash(again.target, sum)).toMatch(/^ok\n17144\|/);
	});

	test("rolls back what a program has begun that was killed", async () => {
		const here = await buckets.mount();
		await bash(here.target, `sqlite3 -bail data.db "${fill}"`);
		// A small cache has it write into the database before the commit.
		await bash(
			here.target,
			`mkfifo ${elsewhere}/sql; sqlite3 -bail data.db <${elsewhere}/sql >${elsewhere}/out & program=$!; exec 7>${elsewhere}/sql
			echo "PRAGMA cache_size = 10; BEGIN; UPDATE t SET text = 'half' || id; SELECT 'changed';" >&7
			until grep -q changed ${elsewhere}/out; do sleep 0.1; done; test -s data.db-journal
			kill -9 $program; wait $program || true`,
		);
		const printed = await bash(
			here.target,
			`sqlite3 data.db "PRAGMA integrity_check; SELECT count(*) FROM t WHERE text LIKE 'half%'"; ls`,
		);
		expect(printed).toBe("ok\n0\ndata.db\n");
	});
});

describe("archives and copies", () => {
	test("tar packs and unpacks, with modes, times and links", async () => {
		await makeTree(elsewhere);
		await bash(elsewhere, "tar cf tree.tar tree");
		const here = await buckets.mount();
		await bash(here.target, `tar xpf ${elsewhere}/tree.tar; tar df ${elsewhere}/tree.tar; tar czf again.tgz tree`);
		const again = await buckets.mount();
		expect(await bash(again.target, `tar df ${elsewhere}/tree.tar; tar dzf again.tgz`)).toBe("");
		await bash(elsewhere, `tar xzf ${again.target}/again.tgz --one-top-level=back; diff -r tree back/tree`);
	});

	test("rsync copies in and out, and has nothing to do the second time", async () => {
		await makeTree(elsewhere);
		const here = await buckets.mount();
		const changes = async (from: string, to: string) => bash("/", `rsync -a --itemize-changes ${from} ${to}`);
		expect(await changes(`${elsewhere}/tree`, here.target)).not.toBe("");
		expect(await changes(`${elsewhere}/tree`, here.target)).toBe("");
		await here.unmount();
		const again = await buckets.mount();
		expect(await changes(`${elsewhere}/tree`, again.target)).toBe("");
		expect(await changes(`${again.target}/tree`, `${elsewhere}/back`)).not.toBe("");
		expect(await changes(`${again.target}/tree`, `${elsewhere}/back`)).toBe("");
		expect(await changes(`${elsewhere}/back/tree`, elsewhere)).toBe("");
		await bash(elsewhere, `echo changed >>tree/deep/file-3; rm tree/big; mkdir tree/new`);
		expect(await changes(`--delete ${elsewhere}/tree`, again.target)).toMatch(/deleting +tree\/big\n[^]*file-3\n/);
		await bash(elsewhere, `diff -r tree ${again.target}/tree`);
	});
});

describe("coreutils", () => {
	test("copy, move, cut, sort and delete", async () => {
		await makeTree(elsewhere);
		const here = await buckets.mount();
		await bash(
			here.target,
			`cp -a ${elsewhere}/tree .; cp -a tree copy; diff -r tree copy; diff <(cd tree; ls -lR --full-time) <(cd copy; ls -lR --full-time)
			mv copy moved; test ! -e copy; diff -r tree moved; mv -n moved/big moved/deep/file-1; test -e moved/big
			dd if=tree/big of=dd bs=64k conv=fsync status=none; cmp dd tree/big
			dd if=/dev/zero of=dd bs=1k seek=100 count=1 conv=notrunc,fdatasync status=none; cmp -n 102400 dd tree/big; test $(stat -c %s dd) = $(stat -c %s tree/big)
			truncate -s 1M dd; test $(stat -c %s dd) = 1048576; truncate -s +1M dd; tail -c 1M dd | cmp - <(head -c 1M /dev/zero)
			split -b 1M tree/big part-; cat part-* | cmp - tree/big
			seq 100000 | shuf >numbers; sort -n -o numbers numbers; seq 100000 | cmp - numbers
			install -D -m 751 -o 12 -g 34 tree/deep/er/run installed/there; test "$(stat -c %a:%u:%g installed/there)" = 751:12:34
			ln -s ../numbers installed/link; test "$(readlink installed/link)" = ../numbers; wc -l <installed/link | grep -q 100000
			touch -d 2020-02-02T02:02:02Z numbers; test $(stat -c %Y numbers) = 1580608922
			test $(du -s --apparent-size --block-size=1M tree | cut -f1) -ge 12
			find moved -name 'file-*' -delete; test -z "$(find moved -name 'file-*')"
			rm -r moved tree part-*; ls -A`,
		).then((printed) => expect(printed.split("\n").filter(Boolean)).toEqual(["dd", "installed", "numbers"]));
		expect((await buckets.minio.list(buckets.name)).toSorted()).toEqual([
			"dd",
			"installed/",
			"installed/link",
			"installed/there",
			"numbers",
		]);
	});

	test("tail -f shows what another program appends", async () => {
		const here = await buckets.mount();
		const printed = await bash(
			here.target,
			`echo one >log; timeout 20 tail -n +1 -f log >${elsewhere}/seen & follower=$!
			for line in two three; do sleep 0.3; echo $line >>log; done
			for i in $(seq 100); do grep -q three ${elsewhere}/seen && break; sleep 0.1; done
			kill $follower; cat ${elsewhere}/seen`,
		);
		expect(printed).toBe("one\ntwo\nthree\n");
	});
});

test("editors save by renaming a new file over the old one, and by moving the old one away", async () => {
	const here = await buckets.mount();
	await bash(
		here.target,
		`echo one >file; chmod 640 file; exec 5<file
		sed -i s/one/two/ file; perl -pi -e s/two/three/ file
		# As vim does with 'backup' and 'writebackup', and with its swap file.
		echo swap >.file.swp; mv file file~; echo four >file; sync file; chmod 640 file; rm file~ .file.swp
		test "$(cat file)" = four; test "$(stat -c %a file)" = 640; test "$(cat <&5)" = one`,
	);
	expect(await buckets.minio.list(buckets.name)).toEqual(["file"]);
	expect((await buckets.minio.get(buckets.name, "file")).toString()).toBe("four\n");
});

test("Python finds everything as on a disk", async () => {
	const here = await buckets.mount();
	expect(await bash(here.target, `python3 ${programs}/exercise.py . | tail -n 1`)).toBe("archives\n");
});

const hasGo = (await execa("go", ["version"], { reject: false })).exitCode === 0;
if (!hasGo && process.env["CI"] === undefined)
	process.stderr.write("skipped: Go programs, because go is not installed\n");

test.skipIf(!hasGo && process.env["CI"] === undefined)(
	"Go builds a program inside the mount, which finds everything as on a disk",
	{ timeout: 120_000 },
	async () => {
		const here = await buckets.mount();
		const printed = await bash(
			here.target,
			`mkdir go work; cp ${programs}/exercise.go go/main.go; cd go; printf 'module exercise\\n\\ngo 1.25\\n' >go.mod
			CGO_ENABLED=0 GOWORK=off GOFLAGS= go build -o exercise .; cd ../work; ../go/exercise`,
			110_000,
		);
		expect(printed).toBe("all as on a disk\n");
	},
);
