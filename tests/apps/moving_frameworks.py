"""The pages of the shop in each framework; whose sessions these are is what the old and the new one differ in."""

import moving_pages as pages


def flask_site():
    from flask import Flask, flash, get_flashed_messages, session

    app = Flask(__name__)
    app.secret_key = "a secret of Flask"

    @app.post("/login")
    def log_in():
        session.permanent = True
        flash("hello", "greeting")
        return pages.log_in(session)

    @app.get("/who")
    def who():
        return pages.who(session)

    @app.get("/permanent")
    def permanent():
        return repr(session.permanent)

    @app.post("/add")
    def add():
        return pages.add(session)

    @app.get("/message")
    def message():
        return repr(get_flashed_messages(with_categories=True))

    @app.post("/logout")
    def log_out():
        session.clear()
        return "bye"

    return app


def pyramid_site(session_factory):
    from pyramid.config import Configurator
    from pyramid.response import Response

    def log_in(request):
        request.session.flash("hello", "greeting")
        request.session.new_csrf_token()
        return Response(pages.log_in(request.session))

    def who(request):
        return Response(pages.who(request.session))

    def add(request):
        return Response(pages.add(request.session))

    def message(request):
        return Response(repr(request.session.pop_flash("greeting")))

    def log_out(request):
        request.session.invalidate()
        return Response("bye")

    with Configurator(session_factory=session_factory) as config:
        for path, view in {"login": log_in, "who": who, "add": add, "message": message, "logout": log_out}.items():
            config.add_route(path, f"/{path}")
            config.add_view(view, route_name=path)
    return config.make_wsgi_app()


def cherrypy_site(session, end, settings):
    import cherrypy

    class Site:
        @cherrypy.expose
        def login(self):
            return pages.log_in(session())

        @cherrypy.expose
        def who(self):
            return pages.who(session())

        @cherrypy.expose
        def add(self):
            return pages.add(session())

        @cherrypy.expose
        def logout(self):
            end(session())
            return "bye"

    cherrypy.log.screen = False
    return cherrypy.Application(Site(), "", {"/": settings})
