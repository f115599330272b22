import type { Outcome } from "./compare.ts";
import { folderIn, type Stage, type Suite } from "./suite.ts";

const jobs: Readonly<Record<string, readonly string[]>> = {
	sequential: ["--rw=write", "--bs=1M", "--size=256M"],
	random: ["--rw=randwrite", "--bs=64k", "--size=64M"],
	"random in odd blocks": [
		"--rw=randwrite",
		"--bsrange=512-100k",
		"--bs_unaligned",
		"--size=32M",
		"--fallocate=truncate",
	],
	"random over what is there": ["--rw=randwrite", "--bs=16k", "--size=64M", "--overwrite=1"],
	mmap: ["--rw=randwrite", "--bs=4k", "--size=32M", "--ioengine=mmap"],
	"direct I/O": ["--rw=randwrite", "--bs=64k", "--size=64M", "--direct=1", "--ioengine=libaio", "--iodepth=8"],
	"with fsync": ["--rw=randwrite", "--bs=256k", "--size=32M", "--fsync=16"],
	"four at a time": ["--rw=randwrite", "--bs=32k", "--size=16M", "--numjobs=4"],
};

export const fio: Suite = {
	name: "fio",
	variable: "FIO",
	place: "the program fio",
	installed: "fio",
	async run(path, stage) {
		const outcomes = new Map<string, Outcome>();
		const pod = await stage.mount("fio");
		const folder = await folderIn(pod, "fio");
		for (const [name, args] of Object.entries(jobs))
			outcomes.set(name, await verify(stage, path, folder, [...args, `--name=${nameOf(name)}`]));
		await pod.stop();
		// What has reached the bucket, without anything that the first mount remembers.
		const { target } = await stage.mount("fio");
		for (const [name, args] of Object.entries(jobs)) {
			const again = [...args, `--name=${nameOf(name)}`, "--verify_only"];
			outcomes.set(`${name}, mounted again`, await verify(stage, path, `${target}/fio`, again));
		}
		return outcomes;
	},
};

async function verify(stage: Stage, path: string, folder: string, args: readonly string[]): Promise<Outcome> {
	const { exitCode, output } = await stage.run(path, [
		`--directory=${folder}`,
		"--verify=crc32c",
		"--verify_fatal=1",
		"--verify_state_save=0",
		"--randseed=42",
		...args,
	]);
	const said = output.split("\n").find((line) => /verify|error/i.test(line));
	return exitCode === 0 ? { kind: "passed" } : { kind: "failed", said: said ?? `exit code ${exitCode}` };
}

function nameOf(name: string): string {
	return name.replaceAll(/\W/g, "-");
}
