import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";

let loadedSystemTrust: SecureContext | undefined;

/**
 * The drivers trust what the image's certificate store holds, and so must whatever speaks to their servers; Node would trust a list
 * of its own. Parsing the store blocks for some 50 ms, so it is done once.
 */
export function systemTrust(): SecureContext {
	if (loadedSystemTrust === undefined) {
		const authorities = getCACertificates("system");
		loadedSystemTrust = createSecureContext(authorities.length === 0 ? {} : { ca: authorities });
	}
	return loadedSystemTrust;
}
