import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { counts, expectSame, path, play, tellEnd } from "../drivers/applications.ts";

/* Programs that know nothing of the mount, each of which does on it what it does on any disk. */

const [, scratch = ""] = process.argv.slice(2);
const run = promisify(execFile);

/** What it prints. Rejects with what it complains of. */
async function shell(script: string, ...args: string[]): Promise<string> {
	const options = { cwd: "/", timeout: 1_800_000, maxBuffer: 64 * 1024 ** 2 };
	const { stdout } = await run("bash", ["-euo", "pipefail", "-c", script, "bash", ...args], options);
	return stdout.trim();
}

const plain = join(scratch, "plain");
await shell(
	`mkdir "$1" && cd "$1" && git init -q . && for n in $(seq 40); do mkdir -p $((n % 7)) && seq $((n * 50)) > $((n % 7))/$n; done &&
	git add . && git -c user.name=a -c user.email=a@b commit -qm first`,
	plain,
);
await shell(
	`cp -r "$1/." "$2" && head -c 12000000 /dev/urandom > "$2/large" && sha256sum < "$2/large" > "$3"`,
	plain,
	path("still"),
	join(scratch, "sum"),
);
const [found, listed, sum] = await Promise.all([
	shell('cd "$1" && find . -printf "%p %y %s\\n" | sort', path("still")),
	shell('cd "$1" && ls -lR', path("still")),
	shell('cat "$1"', join(scratch, "sum")),
]);

const mapped = `
import hashlib, mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
    hash = hashlib.sha256()
    for start in range(0, len(content), 65536): hash.update(content[start:start + 65536])
    print(hash.hexdigest() + "  -")`;

await play({
	find: async () =>
		expectSame("found", await shell('cd "$1" && find . -printf "%p %y %s\\n" | sort', path("still")), found),
	ls: async () => expectSame("listed", await shell('cd "$1" && ls -lR', path("still")), listed),
	direct: async () =>
		expectSame(
			"sum",
			await shell('dd if="$1" iflag=direct bs=1M status=none | sha256sum', path("still", "large")),
			sum,
		),
	mapped: async () => expectSame("sum", await shell('python3 -c "$1" "$2"', mapped, path("still", "large")), sum),
	git: async () => {
		const script = `git clone -q --no-hardlinks "$1" "$2" && cd "$2" && echo "$3" > 1/new && git add . &&
			git -c user.name=a -c user.email=a@b commit -qm second && git fsck --strict >&2 && git status --porcelain && git rev-list --count HEAD && cd / && rm -r "$2"`;
		expectSame("commits", await shell(script, plain, path(`git-${counts["git"]}`), `${counts["git"]}`), "2");
	},
	sqlite: async () => {
		const number = counts["sqlite"] ?? 0;
		const script = `sqlite3 "$1" "create table if not exists t(n); insert into t values($2); select count(*), sum(n) from t; pragma integrity_check"`;
		const expected = `${number + 1}|${(number * (number + 1)) / 2}\nok`;
		expectSame("rows", await shell(script, path("database"), `${number}`), expected);
	},
	tar: async () => {
		const script = `tar -C "$1" -cf "$2.tar" . && mkdir "$2" && tar -C "$2" -xf "$2.tar" && diff -r "$1" "$2" && mv "$2" "$2-moved" && diff -r "$1" "$2-moved" && rm -r "$2.tar" "$2-moved"`;
		expectSame("difference", await shell(script, plain, path(`tar-${counts["tar"]}`)), "");
	},
});
tellEnd();
