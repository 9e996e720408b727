package org.apache.iceberg.rest; // the server side's classes are open to their own package only

import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletRequestWrapper;
import jakarta.servlet.http.HttpServletResponse;
import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import org.apache.iceberg.Files;
import org.apache.iceberg.aws.s3.S3FileIO;
import org.apache.iceberg.io.FileIO;
import org.apache.iceberg.io.InputFile;
import org.apache.iceberg.io.OutputFile;
import org.apache.iceberg.jdbc.JdbcCatalog;
import org.apache.iceberg.rest.responses.LoadTableResponse;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;

/**
 * Iceberg's own REST catalog on loopback, one catalog for each warehouse: the first part of a path is the warehouse's
 * address in URL-safe base64. Arguments: port, folder of the database. Variables S3_ENDPOINT, S3_ACCESS_KEY and
 * S3_SECRET_KEY say how to reach S3; clients are told when they load a table.
 */
public final class RestCatalog {
  public static void main(String[] arguments) throws Exception {
    Server server = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])));
    ServletContextHandler context = new ServletContextHandler();
    context.addServlet(new ServletHolder(new Warehouses(arguments[1])), "/*");
    server.setHandler(context);
    server.start();
    server.join();
  }

  private static Map<String, String> storage() {
    String endpoint = System.getenv("S3_ENDPOINT");
    if (endpoint == null) {
      return Map.of();
    }
    return Map.of(
        "s3.endpoint", endpoint,
        "s3.access-key-id", System.getenv("S3_ACCESS_KEY"),
        "s3.secret-access-key", System.getenv("S3_SECRET_KEY"),
        "s3.region", "us-east-1",
        "client.region", "us-east-1",
        "s3.path-style-access", "true");
  }

  /** Hands each request to the catalog of its warehouse. */
  private static final class Warehouses extends HttpServlet {
    private final String folder;
    private final Map<String, RESTCatalogServlet> opened = new ConcurrentHashMap<>();

    Warehouses(String folder) {
      this.folder = folder;
    }

    @Override
    protected void service(HttpServletRequest request, HttpServletResponse response)
        throws ServletException, IOException {
      String path = request.getRequestURI();
      int end = path.indexOf('/', 1);
      if (end < 0) {
        response.setStatus(HttpServletResponse.SC_NO_CONTENT);
        return;
      }
      RESTCatalogServlet catalog = opened.computeIfAbsent(path.substring(1, end), this::open);
      HttpServletRequest inner =
          new HttpServletRequestWrapper(request) {
            @Override
            public String getRequestURI() {
              return path.substring(end);
            }
          };
      catalog.service(inner, response);
    }

    private RESTCatalogServlet open(String encoded) {
      String warehouse = new String(Base64.getUrlDecoder().decode(encoded), StandardCharsets.UTF_8);
      JdbcCatalog catalog = new JdbcCatalog(ignored -> open(), null, true);
      catalog.initialize(
          warehouse,
          Map.of("uri", "jdbc:h2:file:" + folder + "/catalogs;WRITE_DELAY=0", "warehouse", warehouse, "clients", "4"));
      return new RESTCatalogServlet(new LendingAdapter(catalog));
    }

    private static FileIO open() {
      FileIO files = System.getenv("S3_ENDPOINT") == null ? new LocalFiles() : new S3AndLocalFiles();
      files.initialize(storage());
      return files;
    }
  }

  /** Tells clients how to reach the files of the table they load. */
  private static final class LendingAdapter extends RESTCatalogAdapter {
    LendingAdapter(JdbcCatalog catalog) {
      super(catalog);
    }

    @Override
    public <T extends RESTResponse> T handleRequest(
        Route route,
        Map<String, String> variables,
        HTTPRequest request,
        Class<T> kind,
        Consumer<Map<String, String>> headers) {
      T response = super.handleRequest(route, variables, request, kind, headers);
      if (response instanceof LoadTableResponse loaded) {
        LoadTableResponse lent =
            LoadTableResponse.builder().withTableMetadata(loaded.tableMetadata()).addAllConfig(storage()).build();
        return kind.cast(lent);
      }
      return response;
    }
  }

  /** Files on local disk, by URI. */
  private static class LocalFiles implements FileIO {
    @Override
    public InputFile newInputFile(String path) {
      return Files.localInput(path);
    }

    @Override
    public OutputFile newOutputFile(String path) {
      return Files.localOutput(path);
    }

    @Override
    public void deleteFile(String path) {
      new File(path.replaceFirst("^file:(//)?", "")).delete();
    }
  }

  /** Files on S3 and on local disk. */
  private static final class S3AndLocalFiles extends LocalFiles {
    private final S3FileIO remote = new S3FileIO();

    @Override
    public void initialize(Map<String, String> properties) {
      remote.initialize(properties);
    }

    @Override
    public InputFile newInputFile(String path) {
      return path.startsWith("s3:") ? remote.newInputFile(path) : super.newInputFile(path);
    }

    @Override
    public OutputFile newOutputFile(String path) {
      return path.startsWith("s3:") ? remote.newOutputFile(path) : super.newOutputFile(path);
    }

    @Override
    public void deleteFile(String path) {
      if (path.startsWith("s3:")) {
        remote.deleteFile(path);
      } else {
        super.deleteFile(path);
      }
    }
  }
}
