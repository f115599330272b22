import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { execa } from "execa";

/** An ext4 on a file: a disk that can break while files on it are open, which a tmpfs cannot. */
export interface LoopDisk {
	readonly folder: string;
	/** As a kernel does that finds its disk damaged: from now on it is read-only. */
	becomeReadOnly(): Promise<void>;
	remove(): Promise<void>;
}

export async function mountLoopDisk(mebibytes: number): Promise<LoopDisk> {
	const folder = await mkdtemp(join(tmpdir(), "fluid-fuse-disk-"));
	const image = `${folder}.img`;
	await writeFile(image, "");
	await truncate(image, mebibytes * 1024 ** 2);
	await execa("mkfs.ext4", ["-q", "-m", "0", image], { timeout: 20_000 });
	await execa("mount", ["-o", "loop,errors=remount-ro", image, folder], { timeout: 10_000 });
	const { stdout: device } = await execa("findmnt", ["-no", "SOURCE", folder], { timeout: 10_000 });
	return {
		folder,
		becomeReadOnly: async () => writeFile(`/sys/fs/ext4/${basename(device)}/trigger_fs_error`, "1"),
		async remove() {
			await execa("umount", ["-l", folder], { timeout: 20_000 });
			await rm(folder, { recursive: true });
			await rm(image);
		},
	};
}
