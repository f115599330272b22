import { posix } from "node:path";
import type { Driver, RawOptions } from "../drivers/driver.ts";
import { FileFault, readNamedFile, realPathOf } from "../named-file.ts";
import { shown } from "../options/faults.ts";
import { isPath, isSecret, optionMeta, schemaOf } from "../options/option.ts";
import { Secret } from "../secrets/secret.ts";

export type NamedFile = { readonly path: string } & (
	| { readonly content: Buffer }
	| { readonly content?: never; readonly fault: FileFault }
);

export interface NamedPath {
	readonly option: string;
	readonly path: string;
	/** Else a folder, or a file that need not be there. */
	readonly isFile: boolean;
}

/** The files and folders that options name. */
export function namedPaths(driver: Driver, raw: RawOptions): NamedPath[] {
	return Object.entries(raw).flatMap(([option, given]) => {
		const schema = schemaOf(driver.options, option);
		const value = given instanceof Secret ? given.reveal() : given;
		// What is no path is a fault of another kind.
		if (schema === undefined || isSecret(schema) || !schema.safeParse(value).success) return [];
		const files = optionMeta(schema).filesIn?.(value);
		const paths = files ?? (isPath(schema, value) ? [value] : []);
		return paths.map((path) => ({ option, path, isFile: files !== undefined }));
	});
}

export async function pathsIn(folder: string, named: readonly NamedPath[]): Promise<NamedPath[]> {
	const isIn = (path: string): boolean => path === folder || path.startsWith(`${folder}/`);
	// What hangs there is not touched.
	const found = named.map(async ({ path }) => isIn(posix.normalize(path)) || isIn(await realPathOf(path)));
	const verdicts = await Promise.all(found);
	return named.filter((_, index) => verdicts[index]);
}

export async function readNamedFiles(named: readonly NamedPath[]): Promise<[option: string, file: NamedFile][]> {
	return Promise.all(
		named
			.filter(({ isFile }) => isFile)
			.map(async ({ option, path }): Promise<[string, NamedFile]> => {
				try {
					return [option, { path, content: await readNamedFile(path) }];
				} catch (error) {
					if (!(error instanceof FileFault)) throw error;
					return [option, { path, fault: error }];
				}
			}),
	);
}

export function fileProblem(
	{ path, fault }: Extract<NamedFile, { fault: FileFault }>,
	given: string | Secret | undefined,
): string {
	return given instanceof Secret ? `the file ${fault.message}` : `the file ${shown(path)} ${fault.message}`;
}

export const fileHint = "Check that it is mounted in this container, at this path.";
