//! Compiled code in memory, and the only places of this host that trust bytes.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use wasmtime::Engine;
use wasmtime::component::Component as Compiled;

/// A component's code.
pub(in crate::transform) struct Image {
    pub(in crate::transform) code: Compiled,
    is_mapped: bool,
}

impl Image {
    /// Code that was compiled here.
    pub(super) fn compiled(code: Compiled) -> Image {
        Image { code, is_mapped: false }
    }

    /// Code that lies in our own folder. It is mapped, so that the system can take its pages back and share them.
    #[expect(unsafe_code, reason = "compiled code is machine code: it comes from our own worker, through a folder that only we can write")]
    pub(super) fn mapped(engine: &Engine, file: &File) -> wasmtime::Result<Image> {
        // The file that was looked at, not whatever has its name by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: as for `made`; and files of the cache are renamed into place, never changed, and may be removed while they are mapped.
        let code = unsafe { Compiled::deserialize_file(engine, path) }?;
        Ok(Image { code, is_mapped: true })
    }

    /// Code that our own worker made just now.
    #[expect(unsafe_code, reason = "compiled code is machine code: it comes straight from our own worker")]
    pub(super) fn made(engine: &Engine, artifact: &[u8]) -> wasmtime::Result<Image> {
        // SAFETY: `artifact` was made by `Engine::precompile_component` in the worker, which is this program; wasmtime checks that version and
        // configuration are those of `engine`, and the cache has checked a digest against damage where it comes from there.
        let code = unsafe { Compiled::deserialize(engine, artifact) }?;
        Ok(Image { code, is_mapped: false })
    }

    /// Lets go of the pages that loading has touched, which is nearly all of them: for each that is touched the system maps the sixteen around it. They
    /// stay in the system's cache, and come back, some at a time, with the first record. So a plugin that waits for its records costs tens of KiB,
    /// whatever its size.
    #[expect(unsafe_code, reason = "there is no safe way to tell the system that pages are not needed for now")]
    pub(in crate::transform) fn let_go(&self) {
        if !self.is_mapped {
            return;
        }
        let pages = self.code.image_range();
        let length = pages.end.addr() - pages.start.addr();
        // SAFETY: the range is one private mapping of a file, which lives as long as `code` and begins at a page. Nothing was or will be written to it (the
        // mapping is read-only, and compiled code has no relocations), so what its pages held is read from the file again, whoever runs it meanwhile.
        let advised = unsafe { rustix::mm::madvise(pages.start.cast_mut().cast(), length, rustix::mm::Advice::LinuxDontNeed) };
        if let Err(error) = advised {
            tracing::debug!(%error, "the pages of a component that was loaded stay in memory");
        }
    }
}
