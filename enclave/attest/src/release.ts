/** The release of the service, as it stands in its results. */
export const release = '0.1.0'
