/** What we use of fuse-native 2.2.6, which has no types of its own. Results are 0 or a number of bytes, or a negative errno. */
declare module "fuse-native" {
	export default class Fuse {
		constructor(target: string, operations: Readonly<Record<string, unknown>>, options: { readonly timeout: false });
		mount(done: (error?: Error | null) => void): void;
		/** Ends what keeps the process alive, after it has called the static `unmount`. */
		unmount(done: (error?: Error | null) => void): void;
		static unmount(target: string, done: (error?: Error | null) => void): void;
		protected _fuseOptions(): string;
		/** By the numbers of its operations. */
		protected _makeHandlerArray(): FuseHandler[];
		protected _op_fgetattr(signal: FuseSignal, path: string, fd: number): void;
		protected _op_getattr(signal: FuseSignal, path: string): void;
		protected _op_getxattr(signal: FuseSignal, path: string, name: string, value: Buffer): void;
		protected _op_listxattr(signal: FuseSignal, path: string, list: Buffer): void;
		protected _op_readdir(signal: FuseSignal, path: string): void;
		protected _op_statfs(signal: FuseSignal, path: string): void;
	}

	/** Answers libfuse. */
	export type FuseSignal = (result: number, ...values: unknown[]) => void;

	/** `locals` is the addon's own structure of the request; numbers of 64 bits are two arguments, the lower half first. */
	export type FuseHandler = (locals: Buffer, operation: number, ...operands: unknown[]) => void;
}
