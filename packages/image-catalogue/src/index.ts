export { createArchiveSource, type ArchiveSourceOptions } from './archive-source.ts';
export { createImageCatalogue, type ImageCatalogueDeps, type ImageCatalogueOptions } from './create-image-catalogue.ts';
export type { HeldImage, ImageCatalogue, ImageUse, ImageWanted } from './image-catalogue.ts';
export type { ImageFault } from './image-fault.ts';
export type { ImageLimits } from './image-limits.ts';
export type { ContentWanted, ImageContent, ImageSource, ImageSourceContext } from './image-source.ts';
export { createLayoutSource, type LayoutSourceOptions } from './layout-source.ts';
export { createRegistrySource, type RegistryOptions, type RegistrySourceOptions } from './registry-source.ts';
export { importRootArchive, type ImportedImage, type ImportRootArchiveOptions } from './import-root-archive.ts';
